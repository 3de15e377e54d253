package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/store/bolt"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

var rootVolume = kms.UUID{1, 2, 3}

// keyServer is a whole KMS on loopback.
func keyServer(t testing.TB) (*server.Server, string) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, server.Tables())
	if err != nil {
		t.Fatal(err)
	}
	wrapping, mark := secret.Random(32), server.MarkFile(filepath.Join(dir, "epoch"))
	if _, err := server.Initialise(ctx, db, wrapping, mark); err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(ctx, server.Config{Store: db, Wrapping: wrapping, Mark: mark})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	return s, web.URL
}

func TestGetAfterApprovalUntilLatch(t *testing.T) {
	ctx := context.Background()
	s, url := keyServer(t)
	dev := open(t, tpmtest.Start(t))
	id := identify(t, dev, tpm.Options{})
	client := &kms.Client{Pins: s.Pins()}
	wants := []kms.Want{{UUID: rootVolume, Digest: [32]byte{9}}}
	if err := s.PutVolume(ctx, rootVolume, secret.Own([]byte("canary passphrase"))); err != nil {
		t.Fatal(err)
	}

	if _, err := client.Get(ctx, url, id, wants); code(err) != "pending" {
		t.Fatalf("Get before approval = %v, want code pending", err)
	}
	if _, err := s.ApproveNode(ctx, server.Approval{Who: id.NodeID().Words()}); err != nil {
		t.Fatal(err)
	}
	grant, err := client.Get(ctx, url, id, wants)
	if err != nil {
		t.Fatal(err)
	}
	if got := grant.Volumes[0]; got.Status != kms.OK || string(got.Active.Secret.Reveal()) != "canary passphrase" || !bytes.Equal(got.Digest, wants[0].Digest[:]) {
		t.Errorf("Get after approval = %+v", got)
	}
	if err := client.Report(ctx, url, grant, []kms.Result{{UUID: rootVolume, Outcome: kms.OpenedActive, MAC: make([]byte, 32)}}); err != nil {
		t.Errorf("Report = %v", err)
	}
	if err := dev.Extend(ctx, 15, func(h crypto.Hash) []byte { return make([]byte, h.Size()) }); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(ctx, url, id, wants); code(err) != "pcr15-used" {
		t.Errorf("Get after the latch = %v, want code pcr15-used", err)
	}
}

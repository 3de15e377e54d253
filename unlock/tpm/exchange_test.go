package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"

	"github.com/google/go-tpm/tpm2"

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

	wrapping, mark := secret.Random(32), ledger.MarkFile(filepath.Join(dir, "epoch"))
	if _, err := ledger.Initialize(ctx, db, wrapping, mark); err != nil {
		t.Fatal(err)
	}

	s, err := server.Open(server.Config{Store: db, Wrapping: wrapping, Mark: mark})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { s.Close() })
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	return s, web.URL
}

func TestGetAfterApprovalUntilLatch(t *testing.T) {
	for _, row := range []struct {
		name string
		ek   tpm.EK
	}{{"P-256", tpm.EKP256}, {"RSA-2048", tpm.EKRSA2048}} {
		t.Run(row.name, func(t *testing.T) { getUntilLatch(t, row.ek) })
	}
}

func getUntilLatch(t *testing.T, ek tpm.EK) {
	ctx := context.Background()
	s, url := keyServer(t)
	dev := open(t, tpmtest.Start(t))
	id := identify(t, dev, tpm.Options{EK: ek})
	client := &kms.Client{Pins: s.Pins()}
	wants := []kms.Want{{UUID: rootVolume, Digest: [32]byte{9}}}
	if err := s.PutVolume(ctx, rootVolume, secret.Own([]byte("canary passphrase"))); err != nil {
		t.Fatal(err)
	}

	if _, err := client.Get(ctx, url, id, wants); code(err) != "pending" {
		t.Fatalf("Get before approval = %v, want code pending", err)
	}
	if _, err := s.ApproveNode(ctx, lk1.Approval{Who: id.NodeID().Words(), Unmeasured: true, Volumes: []kms.UUID{rootVolume}}); err != nil {
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

// getApproved makes the prover a node that owns the root volume.
func getApproved(t testing.TB, s *server.Server, url string, p interface {
	kms.Prover
	NodeID() kms.NodeID
},
) {
	t.Helper()
	ctx := context.Background()
	if err := s.PutVolume(ctx, rootVolume, secret.Own([]byte("canary passphrase"))); err != nil {
		t.Fatal(err)
	}
	client := &kms.Client{Pins: s.Pins()}
	if _, err := client.Get(ctx, url, p, []kms.Want{{UUID: rootVolume}}); code(err) != "pending" {
		t.Fatalf("Get before approval = %v, want code pending", err)
	}
	if _, err := s.ApproveNode(ctx, lk1.Approval{Who: p.NodeID().Words(), Unmeasured: true, Volumes: []kms.UUID{rootVolume}}); err != nil {
		t.Fatal(err)
	}
}

func getOnce(t testing.TB, s *server.Server, url string, p kms.Prover) {
	t.Helper()
	client := &kms.Client{Pins: s.Pins()}
	g, err := client.Get(context.Background(), url, p, []kms.Want{{UUID: rootVolume}})
	if err != nil || g.Volumes[0].Status != kms.OK {
		t.Fatalf("Get = %+v, %v", g, err)
	}
}

// A KMS without a pinned key costs the TPM nothing.
func TestRogueKMSCostsNoCommand(t *testing.T) {
	wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
	s, url := keyServer(t)
	_, rogue := keyServer(t)
	id := identify(t, tpm.New(wire), tpm.Options{})
	getApproved(t, s, url, id)
	wire.sent = nil
	client := &kms.Client{Pins: s.Pins()}
	for range 3 {
		if _, err := client.Get(context.Background(), rogue, id, []kms.Want{{UUID: rootVolume}}); code(err) != kms.CodeWrongPin {
			t.Errorf("Get from a rogue = %v, want code %s", err, kms.CodeWrongPin)
		}
	}

	if len(wire.sent) != 0 {
		t.Errorf("a rogue KMS cost %q", wire.commands())
	}
	getOnce(t, s, url, id)
}

// F17: after TPM2_Clear the node is the same, its sealed secrets are gone,
// and the KMS stops until the operator says that it was meant.
func TestClearedTPM(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	sim.Reboot() // so that the counters can fall
	dev := open(t, sim)
	s, url := keyServer(t)
	id := identify(t, dev, tpm.Options{})
	getApproved(t, s, url, id)
	getOnce(t, s, url, id)
	blob, err := id.Seal(ctx, secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}

	id.Close()
	if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}).Execute(rawBus(t, sim)); err != nil {
		t.Fatal(err)
	}

	after := identify(t, dev, tpm.Options{})
	if after.NodeID() != id.NodeID() {
		t.Fatal("the EK changed")
	}

	if _, err := after.Unseal(ctx, blob); code(err) != tpm.CodeSealForeign {
		t.Errorf("Unseal = %v, want code %s", err, tpm.CodeSealForeign)
	}
	client := &kms.Client{Pins: s.Pins()}
	if _, err := client.Get(ctx, url, after, []kms.Want{{UUID: rootVolume}}); code(err) != "tpm-cleared" {
		t.Errorf("Get = %v, want code tpm-cleared", err)
	}

	if _, err := s.AcceptNode(ctx, id.NodeID().Words(), lk1.Acceptance{}); err != nil {
		t.Fatal(err)
	}
	getOnce(t, s, url, after)
}

// C3: another TPM is another node, whatever volumes it names.
func TestAnotherTPMIsAnotherNode(t *testing.T) {
	s, url := keyServer(t)
	getApproved(t, s, url, identify(t, open(t, tpmtest.Start(t)), tpm.Options{}))
	other := identify(t, open(t, tpmtest.Start(t)), tpm.Options{})
	client := &kms.Client{Pins: s.Pins()}
	if _, err := client.Get(context.Background(), url, other, []kms.Want{{UUID: rootVolume}}); code(err) != "pending" {
		t.Errorf("Get = %v, want code pending", err)
	}
}

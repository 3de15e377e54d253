package tpm_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/kms"
	"latchkey/kms/server/lk1"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// beatKey is the key of beats of the TPM's boot.
func beatKey(t *testing.T, s *tpmtest.Simulator) *tpm.BeatKey {
	t.Helper()
	id, err := open(t, s).Identify(context.Background(), tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tpm.NewBeatKey(id)
}

// A TPM's machine beats at a whole key server with the key of this boot, which
// is made again when it was lost, and with that of no other boot.
func TestBeatsOfOneBoot(t *testing.T) {
	ctx, s := context.Background(), tpmtest.Start(t)
	server, url := keyServer(t)
	client, wants := &kms.Client{Pins: server.Pins()}, []kms.Want{{UUID: rootVolume}}
	b := beatKey(t, s)
	words := b.NodeID().Words()
	if _, err := client.Get(ctx, url, b, wants); !isCode(err, "pending") {
		t.Fatalf("Get = %v, want pending", err)
	}
	if _, err := server.ApproveNode(ctx, lk1.Approval{Who: words, Unmeasured: true}); err != nil {
		t.Fatal(err)
	}
	beats, err := client.Register(ctx, url, b, wants)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := client.Beat(ctx, url, b, beats); err != nil {
			t.Fatal(err)
		}
	}

	b.Close()
	again := beatKey(t, s)
	if err := client.Beat(ctx, url, again, beats); err != nil {
		t.Errorf("Beat with the key made again = %v", err)
	}
	before, err := again.BeatKey(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()

	s.Reboot()
	later := beatKey(t, s)
	defer later.Close()
	if after, err := later.BeatKey(ctx, nil); err != nil || bytes.Equal(after.Public, before.Public) {
		t.Errorf("BeatKey after a reset = %x, %v, want another one", after.Public, err)
	}
	if err := client.Beat(ctx, url, later, beats); !isCode(err, kms.CodeNoGrant) {
		t.Errorf("Beat with the ticket of another boot = %v, want %s", err, kms.CodeNoGrant)
	}
	if _, err := client.Register(ctx, url, later, wants); err != nil {
		t.Errorf("Register in the next boot = %v", err)
	}
}

// A key that another program flushed is made again, and no handle is left.
func TestFlushedBeatKey(t *testing.T) {
	ctx, s := context.Background(), tpmtest.Start(t)
	b := beatKey(t, s)
	defer b.Close()
	first, err := b.BeatKey(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	const third = tpm2.TPMHandle(0x80000002) // beside EK and AK
	if _, err := (tpm2.FlushContext{FlushHandle: third}).Execute(rawBus(t, s)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SignBeat(ctx, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	second, err := b.BeatKey(ctx, nil)
	if err != nil || !bytes.Equal(first.Public, second.Public) {
		t.Errorf("BeatKey = %x, %v, want the same as before", second.Public, err)
	}
}

func isCode(err error, want string) bool {
	coded, ok := errors.AsType[*kms.Error](err)
	return ok && coded.Code() == want
}

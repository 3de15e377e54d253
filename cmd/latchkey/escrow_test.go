package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"latchkey/internal/escrow"
	"latchkey/kms"
)

// D52: what the key server names at first is pinned, and shown; later it must
// be the same, in any order.
func TestAgreeOn(t *testing.T) {
	var names []string
	for range 3 {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, id.Recipient().String())
	}
	path := filepath.Join(t.TempDir(), "latchkey", "recovery.recipients")
	said := 0
	agree := func(named ...string) error {
		t.Helper()
		to, err := agreeOn(path, named, func(string, ...any) { said++ })
		if err == nil && len(to) != len(named) || err != nil && to != nil {
			t.Errorf("agreeOn(%v) = %v, %v", named, to, err)
		}
		return err
	}
	if agree() == nil || agree("nobody") == nil {
		t.Error("nobody, or nonsense, was agreed on")
	}
	if err := agree(names[0], names[1]); err != nil || said != 1 {
		t.Fatalf("at first: %v, said %d times; want once", err, said)
	}
	if err := agree(names[1], names[0]); err != nil || said != 1 {
		t.Errorf("the same again: %v, said %d times", err, said)
	}
	for name, other := range map[string][]string{
		"another": {names[2]}, "one more": names, "one fewer": {names[0]}, "one twice": {names[0], names[0]},
	} {
		if err := agree(other...); err == nil || !strings.Contains(err.Error(), other[0]) {
			t.Errorf("%s: %v, want an error that names it", name, err)
		}
	}
	if err := os.WriteFile(path, []byte("# of the owner's\n\n"+names[2]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := agree(names[2]); err != nil {
		t.Errorf("once the owner wrote it down: %v", err)
	}
	if err := os.WriteFile(path, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if agree(names[2]) == nil {
		t.Error("a file that names nobody is agreed with")
	}
}

// A cut before any write of a sealed recovery key leaves the operator's key.
// Another run makes one; the next boot proves it and removes what was left.
func TestPowerCutWhileEscrowing(t *testing.T) {
	b := newBench(t)
	id, err := age.GenerateX25519Identity()
	b.check(err)
	for writes := range 100 {
		path, e := b.volume("vol")
		keep := &escrowing{client: e.client, urls: []string{b.url}, id: b.id, to: []string{id.Recipient().String()}, say: t.Logf}
		err := b.seals(path, keep, e, writes)
		b.opensWithKey(path)
		if err != nil {
			b.check(b.seals(path, keep, e, 1000))
		}
		b.check(b.stop("chip", syscall.SIGKILL))
		b.identify()
		keep.id = b.id
		var out bytes.Buffer
		p := &proving{out: &out}
		want, w, lookErr := lookAtSealed(path)
		b.check(lookErr)
		reply, askErr := keep.ask(t.Context(), []kms.Want{want}, []kms.RecoveryWord{w})
		b.check(askErr)
		if !reply.Volumes[0].Proven {
			t.Errorf("after %d writes: the next boot does not prove it: %+v", writes, reply.Volumes[0])
		}
		b.check(p.tend(t.Context(), keep, path, reply.Volumes[0], len(w.Escrows)))
		if slots, tokens := slotsOf(t, path); slots != 2 || tokens != 1 {
			t.Errorf("after %d writes, and a boot: %d keyslots and %d tokens are left, want the operator's and the sealed one: %s", writes, slots, tokens, &out)
		}
		if err == nil {
			t.Logf("a sealed recovery key is %d writes", writes)
			return
		}
	}
	t.Error("no sealed recovery key came to its end")
}

// seals makes a sealed recovery key until the power is gone.
func (b *bench) seals(path string, keep *escrowing, e *enrollment, writes int) error {
	b.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	b.check(err)
	defer f.Close()
	r, err := keep.make(b.t.Context(), &cutDisk{f, writes}, 2<<20, e.volume)
	if err == nil {
		r.text.Wipe()
	}
	return err
}

// What the key server never took has no keyslot; what it did take opens it.
func TestEscrowIsRefused(t *testing.T) {
	b := newBench(t)
	id, err := age.GenerateX25519Identity()
	b.check(err)
	path, e := b.volume("vol")
	keep := &escrowing{client: e.client, urls: []string{b.url}, id: b.id, to: []string{id.Recipient().String()}, say: t.Logf}
	_, err = b.ask(b.data, "node", "quarantine", b.id.NodeID().String())
	b.check(err)
	if err := b.seals(path, keep, e, 1000); err == nil {
		t.Error("a machine in quarantine left a key")
	}
	if slots, tokens := slotsOf(t, path); slots != 1 || tokens != 0 {
		t.Errorf("%d keyslots and %d tokens are left of a key that was refused", slots, tokens)
	}
	_, err = b.ask(b.data, "node", "readmit", b.id.NodeID().String())
	b.check(err)
	b.check(b.seals(path, keep, e, 1000))
	_, w, err := lookAtSealed(path)
	b.check(err)

	out := filepath.Join(b.dir, "out.age")
	_, err = b.ask(b.data, "recovery", "release", e.want.UUID.String(), "--reason", "a drill", "--output", out)
	b.check(err)
	f, err := os.Open(out)
	b.check(err)
	defer f.Close()
	k, err := escrow.Open(f, []age.Identity{id})
	b.check(err)
	defer k.Text.Wipe()
	if k.Volume != e.want.UUID || k.Machine != b.id.NodeID() || len(w.Escrows) != 1 {
		t.Errorf("it is for %s of %s, with %d keyslots", k.Volume, k.Machine, len(w.Escrows))
	}
	disk, h, err := readVolume(path)
	b.check(err)
	defer disk.Close()
	v, _, err := h.Unlock(t.Context(), disk, attempt(k.Text, k.Keyslot))
	v.Wipe()
	b.check(err)
}

package server_test

import (
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
)

// pinned asks as an image that trusts these keys.
func (f *fixture) pinned(n *softtpm.TPM, pins ...kms.Pin) error {
	_, err := (&kms.Client{Pins: pins}).Get(ctx, f.url, n, wants())
	return err
}

// The whole change of a key, with images of before, between and after.
func TestChangingTheSigningKey(t *testing.T) {
	f := newKMS(t)
	node, old := f.approved(), f.Pins()[0]
	if _, err := f.RetireSigningKey(ctx, old, false); err == nil {
		t.Error("the only key was retired")
	}
	if _, err := f.AddKey(ctx); err != nil {
		t.Fatal(err)
	}

	next := f.Pins()[1]
	ask := func(when string, want map[string]string) {
		t.Helper()
		for image, pins := range map[string][]kms.Pin{"old": {old}, "both": {next, old}, "new": {next}} {
			if err := f.pinned(node, pins...); code(err) != want[image] {
				t.Errorf("%s: an image that trusts %s: %v, want code %q", when, image, err, want[image])
			}
		}
	}

	all := map[string]string{}
	ask("after add", all)
	if _, err := f.RetireSigningKey(ctx, old, false); err == nil {
		t.Error("the key that signs was retired")
	}
	trust, err := f.UseKey(ctx, next)
	if err != nil || !slices.Equal(trust.KMS, []string{next.String(), old.String()}) {
		t.Fatalf("UseKey = %v, %v, want the new key first", trust.KMS, err)
	}

	ask("after use", all)
	f.Close()
	if err := f.start(); err != nil {
		t.Fatal(err)
	}

	ask("after a restart", all)
	if _, err := f.RetireSigningKey(ctx, old, false); err != nil {
		t.Fatal(err)
	}

	ask("after retire", map[string]string{"old": kms.CodeWrongPin})
	if _, err := f.UseKey(ctx, old); err == nil {
		t.Error("a retired key is still there")
	}
	for len(f.Pins()) < kms.MaxPins {
		if _, err := f.AddKey(ctx); err != nil {
			t.Fatal(err)
		}
	}

	if _, err := f.AddKey(ctx); err == nil {
		t.Error("more keys than an image can trust")
	}
	if _, err := f.Check(); err != nil {
		t.Error(err)
	}

	events := map[string]int{}
	for _, e := range f.log() {
		events[e.Event]++
	}
	if events["trust add"] != kms.MaxPins || events["trust use"] != 1 || events["trust retire"] != 1 {
		t.Errorf("the log has %v", events)
	}
}

// The operator begins a rotation, the node ends it.
func TestOperatorsRotation(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	secrets := func(seqid uint64) (active, staged string) {
		t.Helper()
		w := wants(root)
		w[0].SeqID = seqid
		g, err := f.client().Get(ctx, f.url, node, w)
		if err != nil || g.Volumes[0].Status != kms.OK {
			t.Fatalf("Get = %+v, %v", g, err)
		}
		return string(g.Volumes[0].Active.Secret.Reveal()), string(g.Volumes[0].Staged.Secret.Reveal())
	}

	if err := f.RotateVolume(ctx, root, false); err != nil {
		t.Fatal(err)
	}
	if err := f.RotateVolume(ctx, root, false); err == nil {
		t.Error("a second rotation began before the first one ended")
	}

	active, next := secrets(3)
	if active != canary || len(next) != 43 {
		t.Errorf("a node that boots gets %q and %d bytes, want the old and 43 letters", active, len(next))
	}

	// Dropped, and begun again with another passphrase.
	if err := f.AbortRotation(ctx, root); err != nil {
		t.Fatal(err)
	}
	if err := f.AbortRotation(ctx, root); err == nil {
		t.Error("nothing was aborted twice")
	}

	if active, staged := secrets(3); active != canary || staged != "" {
		t.Errorf("after the abort: %q and %q", active, staged)
	}
	if err := f.RotateVolume(ctx, root, false); err != nil {
		t.Fatal(err)
	}

	_, again := secrets(3)
	if again == next {
		t.Error("the dropped passphrase came back")
	}
	f.report(node, kms.Result{UUID: root, Outcome: kms.OpenedStaged, SeqID: 5})
	if active, staged := secrets(5); active != again || staged != "" {
		t.Errorf("after the report: %q and %q, want the new one alone", active, staged)
	}

	if _, err := f.Check(); err != nil {
		t.Error(err)
	}
}

// A secret that is sealed to the node's TPM only the node can replace: it
// is told that the operator wants it.
func TestOperatorsRotationOfASealedSecret(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	if got := f.deposit(node, kms.Put, data, blob("sealed")); got != kms.OK {
		t.Fatal(got.Code())
	}

	staged := func(seqid uint64) kms.Material {
		t.Helper()
		w := wants(data)
		w[0].SeqID = seqid
		g, err := f.client().Get(ctx, f.url, node, w)
		if err != nil || g.Volumes[0].Status != kms.OK {
			t.Fatalf("Get = %+v, %v", g, err)
		}
		return g.Volumes[0].Staged
	}
	for range 2 {
		if err := f.RotateVolume(ctx, data, false); err != nil {
			t.Fatal(err)
		}
		if got := staged(3); got.Kind != kms.Due || got.Secret.Len() != 0 {
			t.Errorf("staged = %+v, want the word that one is due", got)
		}

		if err := f.AbortRotation(ctx, data); err != nil {
			t.Fatal(err)
		}
		if got := staged(3); got.Kind != 0 {
			t.Errorf("staged = %+v after it was called off", got)
		}
	}

	if err := f.RotateVolume(ctx, data, false); err != nil {
		t.Fatal(err)
	}
	if got := f.deposit(node, kms.Stage, data, blob("next")); got != kms.OK {
		t.Fatal(got.Code())
	}

	if got := staged(3); got.Kind != kms.Bound || string(got.Secret.Reveal()) != "next" {
		t.Errorf("staged = %+v, want the node's own", got)
	}
	if err := f.RotateVolume(ctx, data, false); err == nil {
		t.Error("a second rotation began before the first one ended")
	}

	f.report(node, kms.Result{UUID: data, Outcome: kms.OpenedStaged, SeqID: 5})
	if got := staged(5); got.Kind != 0 {
		t.Errorf("staged = %+v after the commit", got)
	}
}

func TestRotationOfWhatCannotBe(t *testing.T) {
	f := newKMS(t)
	third := kms.UUID{3}
	if err := f.PutVolume(ctx, third, secret.Own([]byte("nobody's"))); err != nil {
		t.Fatal(err)
	}
	for name, uuid := range map[string]kms.UUID{"nobody's": third, "unknown": {9}} {
		if err := f.RotateVolume(ctx, uuid, false); err == nil {
			t.Errorf("a volume that is %s was rotated", name)
		}
	}
}

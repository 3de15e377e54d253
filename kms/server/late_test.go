package server_test

import (
	"testing"

	"latchkey/kms"
)

// A report is about the secrets that it was granted with: one that comes late
// does not make another rotation's secret the active one, of which the
// machine has no keyslot, and does not destroy the one that it has.
func TestLateReport(t *testing.T) {
	opened := []kms.Result{{UUID: root, Outcome: kms.OpenedStaged, SeqID: 3}}
	for name, between := range map[string]func(f *fixture, late func()){
		"a rotation that was called off": func(f *fixture, late func()) {
			if err := f.AbortRotation(ctx, root); err != nil {
				t.Fatal(err)
			}
		},
		"one that another report ended": func(f *fixture, late func()) { late() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newKMS(t)
			node := f.approved()
			rotate := func() {
				t.Helper()
				if err := f.RotateVolume(ctx, root, false); err != nil {
					t.Fatal(err)
				}
			}
			rotate()
			g, err := f.get(node)
			if err != nil {
				t.Fatal(err)
			}
			late := func() {
				t.Helper()
				if err := f.client().Report(ctx, f.url, g, opened); err != nil {
					t.Fatal(err)
				}
			}
			between(f, late)
			before := f.secrets(node)
			rotate()
			late()
			if after := f.secrets(node); after[0] != before[0] || after[1] == "" {
				t.Errorf("after a late report the secrets are %.8q and %.8q, want %.8q and a staged one", after[0], after[1], before[0])
			}
			next := f.secrets(node)[1]
			f.report(node, opened...)
			if after := f.secrets(node); after[0] != next || after[1] != "" {
				t.Errorf("after a report in time the secrets are %.8q and %.8q, want %.8q and none", after[0], after[1], next)
			}
		})
	}
}

// secrets are the active and the staged one of a machine's root.
func (f *fixture) secrets(node kms.Prover) [2]string {
	f.t.Helper()
	g, err := f.get(node)
	if err != nil {
		f.t.Fatal(err)
	}
	return [2]string{string(g.Volumes[0].Active.Secret.Reveal()), string(g.Volumes[0].Staged.Secret.Reveal())}
}

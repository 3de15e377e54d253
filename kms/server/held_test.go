package server_test

import (
	"io"
	"testing"

	"latchkey/kms"
)

// backsUp is store backup over the socket.
func (f *fixture) backsUp() {
	f.t.Helper()
	if status, text := get(f.AdminHandler(), "/v1/backup"); status != 200 || len(text) == 0 {
		f.t.Fatalf("a backup: status %d, %d bytes", status, len(text))
	}
}

// D28: a rotation ends only once a backup has its secret: one of before it
// does not, nor one that nobody noted. Until then the machine gets both.
func TestRotationWaits(t *testing.T) {
	for _, kind := range []kms.Kind{kms.Static, kms.Bound} {
		r := newRotated(t, 0)
		r.SetWaitForBackup(true)
		r.backsUp()
		uuid, old := data, "0"
		if kind == kms.Static {
			uuid, old = root, canary
		}
		if err := r.RotateVolume(ctx, uuid, false); err != nil {
			t.Fatal(err)
		}
		if kind == kms.Bound {
			if got := r.deposit(r.node, kms.Stage, uuid, blob("1")); got != kms.OK {
				t.Fatal(got.Code())
			}
		}
		staged := func() string {
			g, err := r.get(r.node, uuid)
			if err != nil || string(g.Volumes[0].Active.Secret.Reveal()) != old {
				t.Fatalf("Get = %+v, %v, want %q as the active secret", g, err, old)
			}
			return string(g.Volumes[0].Staged.Secret.Reveal())
		}
		next := staged()
		seen := kms.Result{UUID: uuid, Outcome: kms.OpenedStaged, SeqID: 3}
		for range 2 {
			r.report(r.node, seen)
			if got := staged(); got != next || next == "" {
				t.Errorf("before a backup the staged secret is %q, want %q", got, next)
			}
		}
		said := 0
		for _, e := range r.log() {
			if e.Event == "report" {
				said++
			}
		}
		if v, err := r.VolumesOf(uuid); err != nil || !v[0].Proven || said != 1 {
			t.Errorf("the volume is %+v, %v; %d reports are in the audit log, want one", v, err, said)
		}
		if err := r.Backup(io.Discard); err != nil {
			t.Fatal(err)
		}
		if r.report(r.node, seen); staged() != next {
			t.Error("a copy that nobody noted counts as a backup")
		}

		r.backsUp()
		r.report(r.node, seen)
		g, err := r.get(r.node, uuid)
		if err != nil || string(g.Volumes[0].Active.Secret.Reveal()) != next || g.Volumes[0].Staged.Kind != 0 {
			t.Errorf("after a backup: %+v, %v, want the next secret alone", g, err)
		}
		if v, err := r.VolumesOf(uuid); err != nil || v[0].Proven {
			t.Errorf("after it has ended: %+v, %v", v, err)
		}
	}
}

package server_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/softtpm"
	"latchkey/kms/store"
)

// A rotated is a KMS with a machine whose data volume was rotated several
// times: from secret 0, at header 10, to 1, at header 20, and so on.
type rotated struct {
	*fixture
	node *softtpm.TPM
	db   store.Store
}

func newRotated(t *testing.T, times int, options ...option) *rotated {
	t.Helper()
	r := &rotated{}
	r.fixture = newKMS(t, append(options, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store { r.db = st; return st }
	})...)
	r.node = r.approved()
	if got := r.deposit(r.node, kms.Put, data, blob("0")); got != kms.OK {
		t.Fatal(got.Code())
	}
	for i := range times {
		r.rotate(i+1, false)
	}
	return r
}

// rotate rotates to a secret, at the header that it has then.
func (r *rotated) rotate(to int, forget bool) {
	r.t.Helper()
	if err := r.RotateVolume(ctx, data, forget); err != nil {
		r.t.Fatal(err)
	}
	r.stages(to)
}

// stages is a rotation by the machine, whoever wanted it.
func (r *rotated) stages(to int) {
	r.t.Helper()
	offer := blob(strconv.Itoa(to))
	offer.UUID = data
	g, err := r.client().Deposit(ctx, r.url, r.node, kms.Stage, r.want(to*10), []kms.Offer{offer})
	if err != nil || g.Volumes[0].Status != kms.OK {
		r.t.Fatal(g, err)
	}
	r.reports(to*10, kms.OpenedStaged, to*10)
}

func (r *rotated) want(seqID int) []kms.Want {
	w := wants(data)
	w[0].SeqID = uint64(seqID)
	return w
}

// ask is what the machine gets with a header.
func (r *rotated) ask(seqID int) (active, staged string, status kms.Status) {
	r.t.Helper()
	g, err := r.client().Get(ctx, r.url, r.node, r.want(seqID))
	if err != nil {
		r.t.Fatal(err)
	}
	v := g.Volumes[0]
	return string(v.Active.Secret.Reveal()), string(v.Staged.Secret.Reveal()), v.Status
}

func (r *rotated) mustAsk(seqID int, active, staged string) {
	r.t.Helper()
	if a, s, status := r.ask(seqID); a != active || s != staged || status != kms.OK {
		r.t.Errorf("with header %d the machine gets %q, staged %q, %s; want %q and %q", seqID, a, s, status.Code(), active, staged)
	}
}

// reports asks with a header, and reports an outcome with the one after.
func (r *rotated) reports(seqID int, o kms.Outcome, after int) {
	r.t.Helper()
	g, err := r.client().Get(ctx, r.url, r.node, r.want(seqID))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.client().Report(ctx, r.url, g, []kms.Result{{UUID: data, Outcome: o, SeqID: uint64(after)}}); err != nil {
		r.t.Fatal(err)
	}
}

// accept is the operator's word for a disk that he restored.
func (r *rotated) accept(seqID int) {
	r.t.Helper()
	if _, _, status := r.ask(seqID); status != kms.HeaderRollback {
		r.t.Fatalf("with header %d the machine gets %s, want header-rollback", seqID, status.Code())
	}
	if err := r.AcceptHeader(ctx, data, ""); err != nil {
		r.t.Fatal(err)
	}
}

// D27: a disk of before a rotation gets the secret that it was rotated away
// from once the operator has accepted its header, and the active one as the
// next: so it is rotated anew. Nobody else gets an old one.
func TestOlderDisk(t *testing.T) {
	for seqID, opens := range map[int]string{3: "0", 9: "0", 10: "1", 19: "1"} {
		r := newRotated(t, 2)
		r.mustAsk(20, "2", "")
		r.accept(seqID)
		r.mustAsk(seqID, opens, "2")
		r.mustAsk(20, "2", "") // the disk of today
		if !r.audited("volume older", "it is given the secret of before ") {
			t.Error("that a disk is older is not in the audit log")
		}
		if n, err := r.Node(r.node.NodeID().String()); err != nil || len(n.Older) != 1 || n.Older[0] != data {
			t.Errorf("the machine's older volumes are %v, %v", n.Older, err)
		}

		r.reports(seqID, kms.OpenedActive, seqID) // its keyslot could not be added
		r.mustAsk(seqID, opens, "2")
		r.reports(seqID, kms.OpenedStaged, seqID+2)
		r.mustAsk(seqID+2, "2", "")
		r.mustAsk(max(20, seqID+2), "2", "") // the disk of today, unless it is behind the restored one
		if _, _, status := r.ask(seqID); status != kms.HeaderRollback {
			t.Errorf("the header from before it caught up gets %s", status.Code())
		}
		if v, err := r.VolumesOf(data); err != nil || v[0].Older != nil || v[0].Staged || len(v[0].Kept) != 2 {
			t.Errorf("after it caught up: %+v, %v", v, err)
		}
		r.rotate(3, false)
		r.mustAsk(30, "3", "")
	}
}

// A rotation that is under way goes on once an older disk has caught up.
func TestOlderDiskInRotation(t *testing.T) {
	r := newRotated(t, 1)
	if err := r.RotateVolume(ctx, data, false); err != nil {
		t.Fatal(err)
	}
	r.accept(4)
	r.mustAsk(4, "0", "1")
	r.reports(4, kms.OpenedStaged, 6)
	if g, err := r.client().Get(ctx, r.url, r.node, r.want(6)); err != nil || g.Volumes[0].Staged.Kind != kms.Due {
		t.Errorf("after it caught up: %+v, %v, want that the next secret is due", g, err)
	}
}

// A rotation that forgets leaves nothing of before, and one that is called
// off does not.
func TestRotationForgets(t *testing.T) {
	r := newRotated(t, 2)
	if err := r.RotateVolume(ctx, data, true); err != nil {
		t.Fatal(err)
	}
	if err := r.AbortRotation(ctx, data); err != nil {
		t.Fatal(err)
	}
	r.stages(3)
	if v, err := r.VolumesOf(data); err != nil || len(v[0].Kept) != 3 {
		t.Fatalf("after three rotations %+v, %v, want three that are kept", v, err)
	}
	r.rotate(4, true)
	r.accept(3)
	r.mustAsk(3, "4", "")
	if n := r.secrets(); n != 2 {
		t.Errorf("there are %d secrets, want the two volumes' active ones", n)
	}
	r.rotate(5, false)
	r.accept(3)
	r.mustAsk(3, "4", "5")
}

// No more are kept than four, and none for longer than its time.
func TestKeptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotated(t, 5, inMemory)
		v, err := r.VolumesOf(data)
		if err != nil || len(v[0].Kept) != 4 || v[0].Kept[0].Before != 20 || r.secrets() != 6 {
			t.Fatalf("after five rotations %+v, %v, want the last four", v, err)
		}
		time.Sleep(ledger.DefaultGrace - 3*time.Hour)
		r.SetKeepSecrets(0) // for what is replaced from now on
		r.rotate(6, false)
		r.destroys()
		if n := r.secrets(); n != 6 {
			t.Errorf("before their time has ended %d secrets are left, want 6", n)
		}
		time.Sleep(3 * time.Hour)
		r.destroys()
		if n := r.secrets(); n != 2 || !r.audited("volume forget", "a secret that was replaced") {
			t.Errorf("after it %d secrets are left", n)
		}
		r.accept(3)
		r.mustAsk(3, "6", "")
		if _, err := r.Check(); err != nil {
			t.Error(err)
		}
	})
}

// What is kept goes with the volume, and does not come back with another.
func TestKeptGoesWithTheVolume(t *testing.T) {
	r := newRotated(t, 2)
	if err := r.DeleteVolume(ctx, data, false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UndeleteVolume(ctx, data); err != nil {
		t.Fatal(err)
	}
	r.accept(3)
	r.mustAsk(3, "0", "2")
	if err := r.DeleteVolume(ctx, data, true); err != nil {
		t.Fatal(err)
	}
	if n := r.secrets(); n != 1 {
		t.Errorf("%d secrets are left, want that of the other volume", n)
	}
	if _, err := r.VolumesOf(data); !errors.Is(err, ledger.ErrNotFound) {
		t.Error(err)
	}
}

// secrets counts those in the database.
func (r *rotated) secrets() (n int) {
	r.t.Helper()
	err := r.db.View(func(v store.Reader) error {
		v.Scan("secrets", nil, func(_, _ []byte) bool { n++; return true })
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// A volume that is moved to another machine takes no old secret along.
func TestKeptStays(t *testing.T) {
	r := newRotated(t, 2)
	other := newTPM(t)
	if _, err := r.get(other, data); code(err) != "pending" {
		t.Fatal(err)
	}
	n, err := r.Node(other.NodeID().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ApproveNode(ctx, lk1.Approval{Who: n.Words, Unmeasured: true, Move: true, Secrets: lk1.SecretsKeep, Seen: n.Seen}); err != nil {
		t.Fatal(err)
	}
	if n := r.secrets(); n != 2 {
		t.Errorf("there are %d secrets, want the two volumes' active ones", n)
	}
	if v, err := r.VolumesOf(data); err != nil || len(v) != 1 || !v[0].Bound || len(v[0].Kept) != 0 {
		t.Errorf("after the move %+v, %v", v, err)
	}
	if _, err := r.Check(); err != nil {
		t.Error(err)
	}
}

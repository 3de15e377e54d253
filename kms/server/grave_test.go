package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/softtpm"
)

// status is what a volume's machine is told.
func (f *fixture) status(n *softtpm.TPM, u kms.UUID) kms.Status {
	f.t.Helper()
	g, err := f.get(n, u)
	if err != nil {
		f.t.Fatal(err)
	}
	return g.Volumes[0].Status
}

// destroys runs the watch for the graves until it has looked twice: it begins
// an hour after the start.
func (f *fixture) destroys() { f.watches(time.Hour + time.Minute + time.Second) }

// watches runs it for a time.
func (f *fixture) watches(long time.Duration) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.WatchGraves(ctx)
	}()
	time.Sleep(long)
	stop()
	<-done
}

// D26: nothing is given of a deleted volume, to nobody, and its UUID is
// nobody's to take; it is as it was once it is undeleted.
func TestUndeleteVolume(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	other := newTPM(t)
	f.approve(other, data)
	if _, err := f.UndeleteVolume(ctx, root); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("undeleting what was not deleted = %v", err)
	}
	if err := f.DeleteVolume(ctx, root, false); err != nil {
		t.Fatal(err)
	}
	if got := f.status(node, root); got != kms.NotBound {
		t.Errorf("Get of a deleted volume = %s, want not-bound", got.Code())
	}
	for _, n := range []*softtpm.TPM{node, other} {
		for _, op := range []kms.Operation{kms.Put, kms.Enroll} {
			o := kms.Offer{MAC: make([]byte, 32)}
			if op == kms.Put {
				o = blob("mine now")
			}
			if got := f.deposit(n, op, root, o); got != kms.NotBound {
				t.Errorf("%s of a deleted volume = %s, want not-bound", op, got.Code())
			}
		}
	}
	for what, err := range map[string]error{
		"putting":   f.PutVolume(ctx, root, secret.Own([]byte("another"))),
		"rotating":  f.RotateVolume(ctx, root, false),
		"deleting":  f.DeleteVolume(ctx, root, false),
		"accepting": f.AcceptHeader(ctx, root, ""),
	} {
		if !errors.Is(err, ledger.ErrRefused) || !strings.Contains(err.Error(), "volume undelete") {
			t.Errorf("%s = %v, want a refusal that says what to do", what, err)
		}
	}
	if v, err := f.VolumesOf(root); err != nil || len(v) != 1 || v[0].Deleted == nil || v[0].Bound || v[0].Deleted.Until.Sub(v[0].Deleted.At) != ledger.DefaultGrace {
		t.Errorf("VolumesOf = %+v, %v, want one that is kept for %s", v, err, ledger.DefaultGrace)
	}

	if needs, err := f.UndeleteVolume(ctx, root); err != nil || needs != "" {
		t.Fatalf("UndeleteVolume = %q, %v", needs, err)
	}
	f.mustGet(node)
	if err := f.DeleteVolume(ctx, root, true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.UndeleteVolume(ctx, root); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("undeleting what is destroyed = %v", err)
	}
	if got := f.deposit(node, kms.Put, root, blob("anew")); got != kms.OK {
		t.Errorf("put of a volume that is destroyed = %s", got.Code())
	}
}

// A machine that waits, and asks for a deleted volume, is not given it by an
// approval, in whatever words, and its offer is not mixed with what is kept.
func TestApproveDeletedVolume(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	if err := f.DeleteVolume(ctx, root, false); err != nil {
		t.Fatal(err)
	}
	other := newTPM(t)
	if _, err := f.client().Deposit(ctx, f.url, other, kms.Put, wants(root), []kms.Offer{{UUID: root, Kind: kms.Bound, Secret: secret.Own([]byte("planted"))}}); code(err) != "pending" {
		t.Fatal(err)
	}
	if v, err := f.VolumesOf(root); err != nil || len(v) != 1 {
		t.Errorf("beside the deleted volume there is %v, %v", v, err)
	}
	words := other.NodeID().Words()
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: words, Unmeasured: true, Move: true, Volumes: []kms.UUID{root}}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("approving it with the volume's name = %v, want ErrRefused", err)
	}
	n, err := f.Node(words)
	if err != nil || len(n.Asks) != 1 || n.Asks[0].Standing != lk1.Deleted {
		t.Errorf("it asks for %v, %v, want a deleted volume", n.Asks, err)
	}
	out, err := f.ApproveNode(ctx, lk1.Approval{Who: words, Unmeasured: true, Move: true, Seen: n.Seen})
	if err != nil || len(out.Held) != 1 || len(out.Bound)+len(out.Moved) != 0 {
		t.Errorf("approving what it showed = %+v, %v, want the volume held", out, err)
	}
	if _, err := f.UndeleteVolume(ctx, root); err != nil {
		t.Fatal(err)
	}
	f.mustGet(node)
	if got := f.status(other, root); got != kms.NotBound {
		t.Errorf("another machine gets %s", got.Code())
	}
}

// What the operator put for a machine that has not asked is given back, too.
func TestUndeleteNobodys(t *testing.T) {
	f := newKMS(t)
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}
	if err := f.DeleteVolume(ctx, root, false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.UndeleteVolume(ctx, root); err != nil {
		t.Fatal(err)
	}
	node := newTPM(t)
	f.approve(node, root)
	f.mustGet(node)
}

// When its grace has ended a volume is destroyed, with its secrets, and the
// audit log says so. A clock that was set destroys nothing.
func TestGraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		if err := f.DeleteVolume(ctx, root, false); err != nil {
			t.Fatal(err)
		}
		f.SetGrace(0) // for what is deleted from now on
		f.Step(2 * ledger.DefaultGrace)
		f.destroys()
		f.Step(-2 * ledger.DefaultGrace)
		time.Sleep(ledger.DefaultGrace - 4*time.Hour)
		f.destroys()
		if v, err := f.VolumesOf(root); err != nil || len(v) != 1 {
			t.Fatalf("before its grace has ended VolumesOf = %v, %v", v, err)
		}
		time.Sleep(4 * time.Hour)
		f.watches(59 * time.Minute)
		if v, err := f.VolumesOf(root); err != nil || len(v) != 1 {
			t.Fatalf("within an hour of the start VolumesOf = %v, %v", v, err)
		}
		f.destroys()
		if _, err := f.VolumesOf(root); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("VolumesOf = %v, want ErrNotFound", err)
		}
		if !f.audited("volume destroy", "and its grace has ended") {
			t.Error("that it is destroyed is not in the audit log")
		}
		if got := f.deposit(node, kms.Put, root, blob("anew")); got != kms.OK {
			t.Errorf("put of a volume that is destroyed = %s", got.Code())
		}
		if err := f.DeleteVolume(ctx, root, false); err != nil {
			t.Fatal(err)
		}
		if _, err := f.VolumesOf(root); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("without a grace VolumesOf = %v, want ErrNotFound", err)
		}
		if _, err := f.Check(); err != nil {
			t.Error(err)
		}
	})
}

// Where two people must want what a machine gets, one person's undelete gives
// it nothing, nor does one of before another deletion.
func TestTwoPeopleUndelete(t *testing.T) {
	f, node := needTwo(t)
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}
	f.approves("alice", node, asItIs)
	f.approves("bob", node, asItIs)
	if err := f.DeleteVolume(by("mallory"), root, false); err != nil {
		t.Fatal(err)
	}
	for i, who := range []string{"mallory", "mallory", "bob"} {
		needs, err := f.UndeleteVolume(by(who), root)
		if err != nil || (needs == "") != (i == 2) {
			t.Errorf("undeleting by %s: needs %q, %v", who, needs, err)
		}
		if v, err := f.VolumesOf(root); err != nil || (v[0].Deleted == nil) != (i == 2) {
			t.Errorf("after %s: %+v, %v", who, v, err)
		}
	}
	f.mustGet(node)
}

package server_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	taloskeeper "latchkey/kms/server/talos/keeper"
	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
)

// D26: a version of a key that was retired opens nothing, until it is given
// back; then it opens what it sealed.
func TestUndeleteKey(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{})
	l.do("approve", box)
	m := l.machine()
	blob := l.seal(m, box)
	if _, err := l.RotateKey(ctx, "talos"); err != nil {
		t.Fatal(err)
	}
	retire := func(now bool) error { _, err := l.RetireKey(ctx, "talos", 1, now); return err }
	undelete := func() error { _, err := l.UndeleteKey(ctx, "talos", 1); return err }
	if err := undelete(); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("undeleting a version that was not retired = %v", err)
	}
	if err := retire(false); err != nil {
		t.Fatal(err)
	}
	_, err := unseal(m, box, blob)
	l.wantRefusal("a retired key", err)
	if err := retire(false); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("retiring it twice = %v, want ErrRefused", err)
	}
	keys, err := l.Keys("talos")
	if err != nil || len(keys) != 2 || keys[0].Retired == nil || keys[0].Until == nil || !keys[1].Current {
		t.Errorf("Keys = %+v, %v, want a retired one that is kept, and the current one", keys, err)
	}
	made := keys[0].Created
	if err := undelete(); err != nil {
		t.Fatal(err)
	}
	l.wantKey(m, box, blob)
	if keys, err := l.Keys("talos"); err != nil || keys[0].Retired != nil || keys[0].Until != nil || !keys[0].Created.Equal(made) {
		t.Errorf("Keys = %+v, %v, want it as it was", keys, err)
	}

	for _, now := range []bool{false, true} { // retired, and then destroyed
		if err := retire(now); err != nil {
			t.Fatal(err)
		}
	}
	if err := undelete(); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("undeleting what is destroyed = %v", err)
	}
	if _, err := l.Check(); err != nil {
		t.Error(err)
	}
}

// A signing key that was retired signs nothing, and comes back as the last.
func TestUndeleteSigningKey(t *testing.T) {
	f := newKMS(t)
	node, old := f.approved(), f.Pins()[0]
	if _, err := f.AddKey(ctx); err != nil {
		t.Fatal(err)
	}
	next := f.Pins()[1]
	if _, err := f.UseKey(ctx, next); err != nil {
		t.Fatal(err)
	}
	for _, now := range []bool{false, true} {
		if _, err := f.RetireSigningKey(ctx, old, now); err != nil {
			t.Fatal(err)
		}
		if err := f.pinned(node, old); code(err) != kms.CodeWrongPin {
			t.Errorf("a retired key: %v, want code %s", err, kms.CodeWrongPin)
		}
		_, err := f.UndeleteSigningKey(ctx, old)
		if now != errors.Is(err, ledger.ErrNotFound) {
			t.Fatalf("undeleting it, retired now %t: %v", now, err)
		}
		if now {
			break
		}
		if err := f.pinned(node, old); err != nil {
			t.Errorf("a key that was given back: %v", err)
		}
		if pins := f.Pins(); len(pins) != 2 || pins[0] != next {
			t.Errorf("after undelete the pins are %v, want the new one first", pins)
		}
	}
	if _, err := f.UseKey(ctx, old); err == nil {
		t.Error("a key that is destroyed is still there")
	}
}

// A key of tang's that was retired recovers nothing until it is given back.
func TestUndeleteTang(t *testing.T) {
	l := newTang(t, tangkeeper.Options{})
	_, exchange := l.advertised("/adv")
	old := exchange[0].Thumbprint()
	l.must(l.Tang.Rotate(ctx, "", tang.DefaultCurve))
	change := func(command string, now bool) error { return l.Tang.Change(ctx, command, old, now) }
	if err := change("undelete", false); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("undeleting a key that is not retired: %v", err)
	}
	l.must(change("retire", false))
	l.want("a retired key", l.recovers("/rec/", exchange[0], ""), 404)
	l.must(change("undelete", false))
	l.want("a key that was given back", l.recovers("/rec/", exchange[0], ""), 200)
	if _, now := l.advertised("/adv"); len(now) != 1 || now[0].Thumbprint() == old {
		t.Errorf("advertised after undelete: %v, want the new key", now)
	}
	l.must(change("retire", false))
	l.must(change("retire", true))
	if err := change("undelete", false); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("undeleting what is destroyed: %v", err)
	}
}

// Retired keys are destroyed when their grace has ended: not one of another
// kind that stands in the same table.
func TestGracesOfKeysEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		must := func(_ any, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			must(f.RotateKey(ctx, "talos"))
		}
		must(f.RetireKey(ctx, "talos", 1, false))
		time.Sleep(5 * time.Hour)
		old := f.Pins()[0]
		must(f.AddKey(ctx))
		must(f.UseKey(ctx, f.Pins()[1]))
		must(f.RetireSigningKey(ctx, old, false))
		time.Sleep(ledger.DefaultGrace - 5*time.Hour)
		f.destroys()
		if _, err := f.UndeleteKey(ctx, "talos", 1); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("undeleting a version whose grace has ended = %v", err)
		}
		if !f.audited("key destroy", "talos: version 1; deleted by operator at ") || f.audited("trust destroy", "") {
			t.Error("the audit log does not say which key is destroyed")
		}
		time.Sleep(5 * time.Hour)
		f.destroys()
		if _, err := f.UndeleteSigningKey(ctx, old); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("undeleting a signing key whose grace has ended = %v", err)
		}
		if !f.audited("trust destroy", old.String()) {
			t.Error("the audit log does not say which signing key is destroyed")
		}
	})
}

// What a machine offered while it waited is its own again if it is undeleted
// within the grace, and destroyed when that has ended.
func TestDeletedOffers(t *testing.T) {
	for _, ends := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newKMS(t, inMemory)
			node := newTPM(t)
			id := node.NodeID().String()
			if _, err := f.client().Deposit(ctx, f.url, node, kms.Put, wants(root), []kms.Offer{{UUID: root, Kind: kms.Static, Secret: secret.Own([]byte(canary))}}); code(err) != "pending" {
				t.Fatal(err)
			}
			if _, err := f.DeleteNode(ctx, id); err != nil {
				t.Fatal(err)
			}
			if ends {
				time.Sleep(ledger.DefaultGrace)
			}
			f.destroys()
			if _, err := f.UndeleteNode(ctx, id); err != nil {
				t.Fatal(err)
			}
			if v, err := f.VolumesOf(root); ends != errors.Is(err, ledger.ErrNotFound) || !ends && len(v) != 1 {
				t.Errorf("grace ended %t: VolumesOf = %v, %v", ends, v, err)
			}
			if f.audited("node destroy", "what it offered") != ends {
				t.Errorf("grace ended %t: the audit log says otherwise", ends)
			}
			if !ends {
				time.Sleep(ledger.DefaultGrace)
				f.destroys() // its grave is gone
				f.approve(node, root)
				f.mustGet(node)
			}
		})
	}
}

// A machine that was deleted with its volume, waits again and is forgotten,
// takes nothing along of what may be undeleted.
func TestForgottenOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		id := node.NodeID().String()
		for _, change := range []func() error{
			func() error { return f.DeleteVolume(ctx, root, false) },
			func() error { _, err := f.DeleteNode(ctx, id); return err },
			func() error { _, err := f.UndeleteNode(ctx, id); return err },
		} {
			if err := change(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(25 * time.Hour)
		f.mustPend(newTPM(t)) // the table is looked through
		if _, err := f.Node(id); !errors.Is(err, ledger.ErrNotFound) {
			t.Fatalf("Node after a day = %v, want ErrNotFound", err)
		}
		if _, err := f.UndeleteVolume(ctx, root); err != nil {
			t.Fatal(err)
		}
		f.approve(node, root)
		f.mustGet(node)
	})
}

package server_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	sidero "github.com/siderolabs/kms-client/api/kms"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	taloskeeper "latchkey/kms/server/talos/keeper"
)

// D10: a machine that was deleted stays refused until it is undeleted; then
// it waits for approval, gets nothing before, and what is bound to it after.
func TestUndelete(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	words := node.NodeID().Words()
	if _, err := f.UndeleteNode(ctx, words); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("UndeleteNode of an approved machine = %v, want ErrRefused", err)
	}
	if _, err := f.DeleteNode(ctx, words); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node); code(err) != "refused" {
		t.Errorf("Get of a deleted machine = %v, want refused", err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: words}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("ApproveNode of a deleted machine = %v, want ErrRefused", err)
	}

	if n, err := f.UndeleteNode(ctx, words); err != nil || n.Describe() != "pending" {
		t.Fatalf("UndeleteNode = %s, %v, want pending", n.Describe(), err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: words}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("ApproveNode of a machine that has not asked since = %v, want ErrRefused", err)
	}
	f.mustPend(node)
	if out := f.approve(node, root); len(out.Left) != 0 { // pending before
		t.Errorf("approving it left %v", out.Left)
	}
	f.mustGet(node)
}

// Who waits again and is not approved in time is forgotten, as others are,
// with nothing lost of what is bound to it.
func TestUndeletedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		for _, change := range []func() error{
			func() error { _, err := f.DeleteNode(ctx, node.NodeID().String()); return err },
			func() error { _, err := f.UndeleteNode(ctx, node.NodeID().String()); return err },
		} {
			if err := change(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(25 * time.Hour)
		f.mustPend(newTPM(t)) // the table is looked through
		if _, err := f.Node(node.NodeID().String()); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("Node after a day = %v, want ErrNotFound", err)
		}
		f.approve(node, root)
		f.mustGet(node)
	})
}

// The same for machines of Talos and Kairos.
func TestUndeleteOthers(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{}, speaksKairos)
	uuid, err := kms.ParseUUID(box)
	if err != nil {
		t.Fatal(err)
	}
	seal := func() error {
		_, err := l.machine().Seal(ctx, &sidero.Request{NodeUuid: box, Data: diskKey})
		return err
	}
	for _, step := range []struct {
		command string
		seals   bool
	}{{"approve", true}, {"delete", false}, {"undelete", false}, {"approve", true}} {
		if _, err := l.Talos.Change(ctx, step.command, uuid, nil); err != nil {
			t.Fatalf("talos %s: %v", step.command, err)
		}
		if err := seal(); (err == nil) != step.seals {
			t.Errorf("Seal after %s = %v, want one that holds %t", step.command, err, step.seals)
		}
	}

	tpm := newSoft(t)
	n := l.kairosNode(tpm)
	refused(t, n, "")
	l.kairos("approve", tpm)
	must(t, n)
	l.kairos("delete", tpm)
	refused(t, n, "not enrolled")
	l.kairos("undelete", tpm)
	refused(t, n, "")
	l.kairos("approve", tpm)
	must(t, n)
}

package server_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/lk1"
)

// A store that is for so many machines takes no more; those that are known
// get their keys, change their state, and come back after being deleted.
func TestMachinesThatAStoreIsFor(t *testing.T) {
	f := newKMS(t, func(f *fixture) { f.machines = 2 })
	first := f.approved()
	f.approve(newTPM(t), data)
	third := newTPM(t)
	if _, err := f.get(third); code(err) != "pending" {
		t.Fatalf("Get = %v, want pending", err)
	}
	_, err := f.ApproveNode(ctx, lk1.Approval{Who: third.NodeID().Words()})
	if !errors.Is(err, ledger.ErrRefused) || !strings.Contains(err.Error(), "there are 2 machines, and this store is for no more; move to another: latchkey-kms store migrate") {
		t.Errorf("approving a third = %v", err)
	}
	if _, err := f.get(third); code(err) != "pending" {
		t.Errorf("a third gets %v, want pending", err)
	}

	f.mustGet(first)
	id := first.NodeID().String()
	if _, err := f.SetQuarantine(ctx, id, true); err != nil {
		t.Error(err)
	}
	if _, err := f.SetQuarantine(ctx, id, false); err != nil {
		t.Error(err)
	}
	f.mustGet(first)
}

// Trust at first sight ends there, too, with a status that machines know.
func TestTofuInAStoreThatIsFull(t *testing.T) {
	f := newKMS(t, func(f *fixture) { f.machines, f.enroll = 1, fleet.Tofu })
	if _, err := f.get(newTPM(t)); err != nil {
		t.Errorf("the first machine gets %v", err)
	}
	if _, err := f.get(newTPM(t)); code(err) != "pending-full" {
		t.Errorf("the second gets %v, want pending-full", err)
	}
}

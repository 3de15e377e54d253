package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/server/policy"
)

// After a cut of the network those that are back where they were are renewed at
// once; one that is away, or back from elsewhere, is not.
func TestRenewThoseThatAreBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.present()
		f.set(node.TPM, policy.Settings{Moved: policy.MovedAllow})
		f.mustGet(node.TPM)
		renews := func(want int) {
			t.Helper()
			if renewed, err := f.RenewBack(ctx); err != nil || len(renewed) != want {
				t.Errorf("RenewBack = %d machines, %v, want %d", len(renewed), err, want)
			}
		}
		f.watching(func() {
			time.Sleep(time.Hour)
			renews(0) // it is away
			f.pipe.from = "198.51.100.7:1"
			f.mustRefuse(node.TPM, "pending", policy.RulePresence)
			renews(0) // it is elsewhere
			f.pipe.from = ""
			f.mustRefuse(node.TPM, "pending", policy.RulePresence)
			renews(0) // that it is here now proves nothing of what was between
			if _, err := f.RenewNode(ctx, node.NodeID().String()); err != nil {
				t.Fatal(err)
			}
			f.mustGet(node.TPM)

			time.Sleep(time.Hour)
			f.mustRefuse(node.TPM, "pending", policy.RulePresence)
			renews(1)
			f.mustGet(node.TPM)
		})
	})
}

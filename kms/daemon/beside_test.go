package daemon

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
)

// A task that should last and ends alone ends the server; neither does one that
// had nothing to do, nor one that ends because the server does.
func TestTasksThatEnd(t *testing.T) {
	until := func(ctx context.Context) { <-ctx.Done() }
	at := func(context.Context) {}
	for _, row := range []struct {
		name string
		task task
		want string
	}{
		{"it lasts", task{"looking after rolls", true, until}, ""},
		{"it had nothing to do", task{"telling hooks", false, at}, ""},
		{"it should have lasted", task{"looking after rolls", true, at}, "looking after rolls ended by itself"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(context.Background())
				failed := make(chan error, 2)
				var all sync.WaitGroup
				beside(ctx, []task{row.task}, failed, &all)
				synctest.Wait()
				got := ""
				if len(failed) > 0 {
					got = (<-failed).Error()
				}
				if got != row.want {
					t.Errorf("while the server runs: %q, want %q", got, row.want)
				}

				stop()
				all.Wait()
				if len(failed) > 0 {
					t.Errorf("when the server ends: %v, want nothing", <-failed)
				}
			})
		})
	}
}

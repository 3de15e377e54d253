package daemon

import (
	"context"
	"fmt"
	"sync"
)

// A task is what the server does beside answering machines.
type task struct {
	name  string // gerund and object
	lasts bool   // until its context ends; else it may find that there is nothing to do
	run   func(context.Context)
}

// beside runs tasks. One that should last and ends before its context does is
// told to failed, so that the server ends and is started again: without a word
// a roll that must stop would go on.
func beside(ctx context.Context, tasks []task, failed chan<- error, all *sync.WaitGroup) {
	for _, t := range tasks {
		all.Go(func() {
			t.run(ctx)
			if t.lasts && ctx.Err() == nil {
				failed <- fmt.Errorf("%s ended by itself", t.name)
			}
		})
	}
}

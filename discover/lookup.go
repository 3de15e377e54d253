package discover

import (
	"context"
)

func (f *Finder) asksServers(l Interface) bool { return false }

func (f *Finder) lookUp(ctx context.Context, l Interface) error { <-ctx.Done(); return ctx.Err() }

package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"latchkey/kms"
)

// maxPause is how long a machine waits at most before it asks again a server
// that does not tell it when.
const maxPause = 30 * time.Second

// A pace is how often a key server is asked that refuses until an operator
// does something.
type pace struct {
	pause  time.Duration // at most, before the next question
	called bool          // the last pause ended since the server said so
}

// wait waits until the server says that it is worth asking again; where it
// tells nothing, for the pause. Anybody on the LAN can say that word, so one
// that changed nothing is followed by a pause.
// Cookie is of the refusal; without one it tells nothing.
func (p *pace) wait(ctx context.Context, server Server, url string, cookie []byte) error {
	d := p.pause/2 + rand.N(p.pause/2)
	p.pause = min(2*p.pause, maxPause)
	began := time.Now()
	if p.called = !p.called && len(cookie) > 0 && hear(ctx, server, url, cookie); p.called {
		return ctx.Err()
	}
	return sleep(ctx, d-time.Since(began))
}

// hear waits for the server's word, and tells whether it came.
func hear(ctx context.Context, server Server, url string, cookie []byte) bool {
	ctx, cancel := context.WithTimeout(ctx, kms.MaxWait)
	defer cancel()
	return server.Wait(ctx, url, cookie) == nil
}

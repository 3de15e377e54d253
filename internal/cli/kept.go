package cli

import (
	"cmp"
	"io"
	"sync"
)

// A keptWriter remembers the first error of writing, for commands that print
// in many steps and look at none. What comes after it is written all the same,
// for those that run for long.
type keptWriter struct {
	to io.Writer

	mu  sync.Mutex
	err error
}

func (k *keptWriter) Write(b []byte) (n int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, err = k.to.Write(b)
	k.err = cmp.Or(k.err, err)
	return n, err
}

func (k *keptWriter) failed() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

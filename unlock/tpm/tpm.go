// Package tpm is everything said to a TPM: identify, prove, seal, unseal,
// extend. It speaks TPM 2.0 through go-tpm's direct API and trusts no reply
// further than a session salted to the endorsement key (EK) can show.
//
// References "Part 1..3" are the TCG's Trusted Platform Module Library
// Specification, revision 1.59.
package tpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// A TPM is one open TPM. Its methods may be called from several
// goroutines; the commands of one call are not interleaved with another's.
type TPM struct {
	bus transport.TPM
	// managed: the kernel's resource manager owns our handles, so that it
	// flushes them when we close, and nobody else's are visible to us.
	managed bool
	class   string // the kernel's folder for it, such as /sys/class/tpm/tpm0; "" if it has none

	mu       sync.Mutex              // held for one whole call: its handles are its own
	kept     map[tpm2.TPMHandle]bool // objects that we loaded
	sessions map[tpm2.TPMHandle]bool // sessions of the call under way
	commands int
	banks    []tpm2.TPMIAlgHash
	// identities are those that are not closed: Unseal needs their room.
	identities []*Identity
}

// New returns a TPM that speaks through bus. It is for transports that
// Open does not know: recorders and fault injectors in tests.
func New(bus transport.TPM) *TPM {
	return &TPM{bus: bus, kept: map[tpm2.TPMHandle]bool{}}
}

// NewAt is New for a TPM of which the kernel tells in a folder such as
// /sys/class/tpm/tpm0.
func NewAt(bus transport.TPM, class string) *TPM {
	t := New(bus)
	t.class = class
	return t
}

// Close closes the transport. Handles of a TPM without resource manager
// are flushed by Identity.Close, which comes first.
func (t *TPM) Close() error {
	if c, ok := t.bus.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Commands is the number of commands sent so far, repeats included.
func (t *TPM) Commands() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.commands
}

// begin locks the TPM for the commands of one call.
func (t *TPM) begin(ctx context.Context) (call, func()) {
	t.mu.Lock()
	t.sessions = map[tpm2.TPMHandle]bool{}
	return call{ctx, t}, t.mu.Unlock
}

// executor is what every command of go-tpm's direct API can do.
type executor[R any] interface {
	Execute(transport.TPM, ...tpm2.Session) (*R, error)
}

// run executes one command. go-tpm decodes replies by reflection; what
// panics there on a strange reply becomes an error here.
func run[R any](c call, what string, cmd executor[R], sessions ...tpm2.Session) (rsp *R, err error) {
	defer func() {
		if p := recover(); p != nil {
			rsp, err = nil, &Error{what, CodeFailed, fmt.Errorf("decoding the TPM's reply: %v", p)}
		}
	}()
	rsp, err = cmd.Execute(c, sessions...)
	if err != nil {
		c.dropSessions()
		return nil, failure(what, err)
	}
	return rsp, nil
}

// dropSessions flushes the sessions of a call that failed: go-tpm leaves
// one behind whose policy could not be satisfied, and three are all that a
// user of the resource manager may have. One that is gone already only
// gives an error.
func (c call) dropSessions() {
	c.ctx = context.WithoutCancel(c.ctx)
	for h := range c.t.sessions {
		delete(c.t.sessions, h)
		_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(direct{c})
	}
}

// flush unloads a handle that this call loaded. An object that is still
// loaded is an orphan for relieve to find, so a failure needs no report.
func (c call) flush(h tpm2.TPMHandle) {
	delete(c.t.kept, h)
	c.ctx = context.WithoutCancel(c.ctx)
	_, _ = run(c, "flushing", tpm2.FlushContext{FlushHandle: h})
}

// errShort is a reply that ends before its own length.
var errShort = errors.New("reply is shorter than it says")

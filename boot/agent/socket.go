package agent

import (
	"io"
	"sync"

	"latchkey/boot/wire"
)

// A socket carries records between the agent and a worker of the same process.
type socket struct {
	said   chan wire.Record // by the worker
	orders chan wire.Record // to it
	over   chan struct{}    // closed: the worker hears the end of its orders
	once   sync.Once
	gone   chan struct{} // closed when the worker is; what it left behind is heard no more
}

func newSocket() *socket {
	return &socket{said: make(chan wire.Record), orders: make(chan wire.Record, 4), over: make(chan struct{}), gone: make(chan struct{})}
}

func (s *socket) tell(r wire.Record) { s.orders <- r }

func (s *socket) end() { s.once.Do(func() { close(s.over) }) }

// drain hears nothing of what is still said.
func (s *socket) drain() {
	for {
		select {
		case <-s.said:
		case <-s.gone:
			return
		}
	}
}

// Read implements the worker's side.
func (s *socket) Read(b []byte) (int, error) {
	select {
	case r := <-s.orders:
		raw := r.Encode()
		return copy(b, raw[:]), nil
	case <-s.over:
		return 0, io.EOF
	}
}

// Write implements the worker's side.
func (s *socket) Write(b []byte) (int, error) {
	r, err := wire.Decode(b)
	if err != nil {
		return 0, err
	}
	select {
	case s.said <- r:
		return len(b), nil
	case <-s.gone:
		return 0, io.ErrClosedPipe
	}
}

package tlstest

import (
	"io"
	"net"
	"sync"
	"time"
)

// Buffered makes of a side of net.Pipe one whose Write does not wait for the
// reader, as a socket's does not: with TLS both sides may write at a time.
func Buffered(conn net.Conn) net.Conn {
	b := &buffered{Conn: conn}
	b.news = sync.NewCond(&b.mu)
	go b.pass()
	return b
}

type buffered struct {
	net.Conn
	mu     sync.Mutex
	news   *sync.Cond
	queue  [][]byte
	closed bool
}

func (b *buffered) pass() {
	defer b.Conn.Close()
	for {
		b.mu.Lock()
		for len(b.queue) == 0 && !b.closed {
			b.news.Wait()
		}
		queue := b.queue
		b.queue = nil
		b.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, p := range queue {
			if _, err := b.Conn.Write(p); err != nil {
				return
			}
		}
	}
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	b.queue = append(b.queue, append([]byte(nil), p...))
	b.news.Signal()
	return len(p), nil
}

// SetWriteDeadline is for writes that wait. Those of crypto/tls set one to cut
// off what comes after their last word.
func (b *buffered) SetWriteDeadline(time.Time) error { return nil }

// Close has what was written delivered, and takes what the other side still
// says.
func (b *buffered) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		go io.Copy(io.Discard, b.Conn)
	}
	b.closed = true
	b.news.Signal()
	return nil
}

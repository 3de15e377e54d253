package boottest

import (
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A Person stands at the console, or nobody does.
type Person struct {
	Types []string      // a line for each question
	After time.Duration // how long each takes
	Fails int           // how often the console cannot be opened

	mu    sync.Mutex
	asked int
}

// Asked is how often there was a question.
func (p *Person) Asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// Console implements worker.System.
func (w workerProcess) Console() (io.ReadWriteCloser, error) {
	p := &w.machine.Person
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Fails > 0 {
		p.Fails--
		return nil, os.ErrPermission
	}
	return &console{w.machine, make(chan struct{}), sync.Once{}}, w.alive()
}

type console struct {
	*Machine
	closed chan struct{}
	once   sync.Once
}

func (c *console) Write(b []byte) (int, error) {
	c.note("console: %s", strings.TrimSpace(string(b)))
	return len(b), nil
}

func (c *console) Read(b []byte) (int, error) {
	p := &c.Person
	p.mu.Lock()
	i := p.asked
	p.asked++
	p.mu.Unlock()
	var ready <-chan time.Time // nobody types
	if i < len(p.Types) {
		ready = time.After(p.After)
	}
	select {
	case <-ready:
		if p.Types[i] == "" {
			return 0, io.EOF // Ctrl-D
		}
		return copy(b, p.Types[i]+"\n"), nil
	case <-c.closed:
		return 0, os.ErrClosed
	}
}

func (c *console) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

package boottest

import (
	"context"
	"encoding/json"
	"net"
	"syscall"

	"latchkey/boot/worker"
	"latchkey/internal/tlsclient"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/clevis/clevistest"
)

// Dial implements worker.Links. Only tang servers take connections.
func (w workerProcess) Dial(string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		w.machine.mu.Lock()
		t := w.machine.Tangs[address]
		w.machine.mu.Unlock()
		if !w.machine.connected() {
			return nil, syscall.EHOSTUNREACH
		}
		if t == nil {
			return nil, syscall.ECONNREFUSED
		}
		if err := w.alive(); err != nil {
			return nil, err
		}
		here, there := net.Pipe()
		go t.Serve(there)
		go func() { // as the kernel does when a process ends
			<-w.killed
			here.Close()
		}()
		return here, nil
	}
}

// TLS implements worker.Links.
func (w workerProcess) TLS() worker.TLS {
	if w.machine.Plain {
		return nil
	}
	return tlsclient.Client
}

// SetTang starts a tang server while the machine runs.
func (m *Machine) SetTang(address string, t *clevistest.Tang) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Tangs[address] = t
}

// AddToken puts a token into the header.
func (d *Disk) AddToken(token json.RawMessage) {
	h, err := luks2.Read(d, int64(len(d.Bytes)))
	if err != nil {
		panic(err)
	}
	if _, _, err := h.SetToken(d, luks2.AnyToken, token); err != nil {
		panic(err)
	}
}

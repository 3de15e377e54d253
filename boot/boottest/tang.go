package boottest

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"syscall"

	"latchkey/boot/worker"
	"latchkey/internal/secret"
	"latchkey/internal/tlsclient"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/clevis/clevistest"
)

// Dial implements worker.Links. Tang servers, KMS of Talos and servers of
// Kairos' protocol take connections.
func (w workerProcess) Dial(string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		w.machine.mu.Lock()
		serve := w.machine.server(address)
		w.machine.mu.Unlock()
		if !w.machine.connected() {
			return nil, syscall.EHOSTUNREACH
		}
		if serve == nil {
			return nil, syscall.ECONNREFUSED
		}
		if err := w.alive(); err != nil {
			return nil, err
		}
		here, there := net.Pipe()
		go serve(there)
		go func() { // as the kernel does when a process ends
			<-w.killed
			here.Close()
		}()
		return here, nil
	}
}

// server is what takes connections at an address.
func (m *Machine) server(address string) func(net.Conn) {
	if t := m.Tangs[address]; t != nil {
		return t.Serve
	}
	if c := m.Challengers[address]; c != nil {
		return c.Serve
	}
	return m.TalosKMS[address]
}

// TLS implements worker.Links.
func (w workerProcess) TLS() worker.TLS {
	if w.machine.Plain {
		return nil
	}
	return tlsclient.Client
}

// ProductUUID implements worker.System.
func (w workerProcess) ProductUUID() (string, error) {
	if w.machine.UUID == "" {
		return "", os.ErrNotExist
	}
	return w.machine.UUID + "\n", w.alive()
}

// Kairos implements worker.Links.
func (w workerProcess) Kairos() worker.KairosSource {
	if w.machine.Plain {
		return nil
	}
	return worker.Kairos
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

// SetTalos starts a KMS of Talos while the machine runs.
func (m *Machine) SetTalos(address string, serve func(net.Conn)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.TalosKMS[address] = serve
}

// AddKeyslot puts a passphrase into a free keyslot, with a token of the same
// number if there is one: so Talos does it.
func (d *Disk) AddKeyslot(slot int, passphrase string, token json.RawMessage) {
	h, err := luks2.Read(d, int64(len(d.Bytes)))
	if err != nil {
		panic(err)
	}
	volume, _, err := h.Unlock(background, d, luks2.Attempt{Passphrase: secret.Own([]byte(Key)), Slot: 0})
	if err != nil {
		panic(err)
	}
	defer volume.Wipe()
	h, _, err = h.AddKey(d, volume, luks2.NewKey{Passphrase: secret.Own([]byte(passphrase)), Slot: slot, Random: true})
	if err == nil && token != nil {
		_, _, err = h.SetToken(d, slot, token)
	}
	if err != nil {
		panic(err)
	}
}

// Digest is the header's, as a plan pins it.
func (d *Disk) Digest() string {
	h, err := luks2.Read(d, int64(len(d.Bytes)))
	if err != nil {
		panic(err)
	}
	sum := h.SubsetDigest()
	return hex.EncodeToString(sum[:])
}

// SetTokenAt puts a token of that number into the header.
func (d *Disk) SetTokenAt(id int, token json.RawMessage) {
	h, err := luks2.Read(d, int64(len(d.Bytes)))
	if err == nil {
		_, _, err = h.SetToken(d, id, token)
	}
	if err != nil {
		panic(err)
	}
}

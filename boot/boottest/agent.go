package boottest

import (
	"context"
	"errors"
	"time"

	"latchkey/boot/device"
	"latchkey/boot/latch"
	"latchkey/boot/wire"
	"latchkey/boot/worker"
)

// An Agent is a machine as the agent sees it that runs in others' early boot.
type Agent struct {
	workerProcess
	Phases     bool // somebody else measures the phases of the boot
	EventsFail int  // so often the kernel tells of no devices
}

// Events implements worker.Drivers.
func (a *Agent) Events(ctx context.Context) (<-chan device.Event, error) {
	if a.EventsFail > 0 {
		a.EventsFail--
		return nil, errors.New("no buffer space available")
	}
	return a.workerProcess.Events(ctx)
}

// Agent begins a boot that is not ours.
func (m *Machine) Agent() *Agent {
	m.began = time.Now()
	close(m.gone) // there is no PID 1 of ours
	p := &process{machine: m, records: make(chan wire.Record), orders: make(chan []byte), killed: make(chan struct{})}
	return &Agent{workerProcess: workerProcess{p}}
}

// Chip implements agent.System.
func (a *Agent) Chip() latch.System { return latchProcess{a.process} }

// Phased implements agent.System.
func (a *Agent) Phased() bool { return a.Phases }

// OpenTPM opens the TPM behind the kernel's resource manager, which shares it.
func (a *Agent) OpenTPM() (worker.TPM, error) {
	return chip{opened{&a.machine.TPM, a.process}}, nil
}

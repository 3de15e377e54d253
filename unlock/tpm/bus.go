package tpm

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// headerSize is tag, size and response code (Part 1, section 18.10).
const headerSize = 10

// Repeats of a command that the TPM did not start: from 5 ms, doubled up to
// 500 ms, for half a minute in all. Self tests of slow chips take seconds.
const (
	firstPause = 5 * time.Millisecond
	maxPause   = 500 * time.Millisecond
	maxWait    = 30 * time.Second
)

// A call is the transport of one call's commands: it repeats what the TPM
// asks to have repeated and makes room when the TPM is full of orphans.
type call struct {
	ctx context.Context
	t   *TPM
}

// Send implements go-tpm's transport.TPM.
func (c call) Send(command []byte) ([]byte, error) {
	relieved := false
	pause := firstPause
	for waited := time.Duration(0); ; {
		reply, rc, err := c.once(command)
		switch {
		case err != nil:
			return nil, err
		case full(rc) && !relieved && !c.t.managed:
			relieved = true
			c.relieve()
			continue
		case !again(rc):
			return reply, nil
		case waited >= maxWait:
			return reply, nil
		}

		if err := sleep(c.ctx, pause); err != nil {
			return nil, err
		}
		waited += pause
		pause = min(2*pause, maxPause)
	}
}

func (c call) once(command []byte) (reply []byte, rc tpm2.TPMRC, err error) {
	if err := c.ctx.Err(); err != nil {
		return nil, 0, err
	}
	c.t.commands++
	reply, err = c.t.bus.Send(command)
	if err != nil {
		return nil, 0, &Error{"asking the TPM", CodeAbsent, err}
	}

	if len(reply) < headerSize || binary.BigEndian.Uint32(reply[2:]) != uint32(len(reply)) {
		return nil, 0, fmt.Errorf("reply of %d bytes: %w", len(reply), errShort)
	}
	rc = tpm2.TPMRC(binary.BigEndian.Uint32(reply[6:]))
	if rc == tpm2.TPMRCSuccess && len(reply) >= headerSize+4 &&
		tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) == tpm2.TPMCCStartAuthSession {
		c.t.sessions[tpm2.TPMHandle(binary.BigEndian.Uint32(reply[headerSize:]))] = true
	}

	return reply, rc, nil
}

// again: the TPM did not run the command and may run it later (Part 2,
// section 6.6.3).
func again(rc tpm2.TPMRC) bool {
	return rc == tpm2.TPMRCRetry || rc == tpm2.TPMRCYielded || rc == tpm2.TPMRCTesting || rc == tpm2.TPMRCNVRate
}

// full: no room for another object or session.
func full(rc tpm2.TPMRC) bool {
	switch rc {
	case tpm2.TPMRCObjectMemory, tpm2.TPMRCSessionMemory, tpm2.TPMRCMemory,
		tpm2.TPMRCSessionHandles, tpm2.TPMRCObjectHandles, tpm2.TPMRCContextGap:
		return true
	}
	return false
}

// relieve flushes what others left behind in a TPM without resource
// manager: transient objects, loaded and saved sessions that are not ours.
// It costs nothing until the TPM says that it is full.
func (c call) relieve() {
	for _, kind := range []tpm2.TPMHT{tpm2.TPMHTTransient, tpm2.TPMHTLoadedSession, tpm2.TPMHTSavedSession} {
		for _, h := range c.handles(kind) {
			if !c.t.kept[h] && !c.t.sessions[h] {
				_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(direct{c})
			}
		}
	}
}

// direct sends without the repeats of call, so that relieve cannot recurse.
type direct struct{ c call }

func (d direct) Send(command []byte) ([]byte, error) {
	reply, _, err := d.c.once(command)
	return reply, err
}

// handles lists the handles of one kind (Part 3, section 30.2).
func (c call) handles(kind tpm2.TPMHT) []tpm2.TPMHandle {
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapHandles, Property: uint32(kind) << 24, PropertyCount: 254,
	}.Execute(direct{c})
	if err != nil {
		return nil
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		return nil
	}
	return list.Handle
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

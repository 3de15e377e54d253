package latch

import (
	"context"
	"crypto"
	_ "crypto/sha1" // TPMs may have this bank on; it gets its measurement too
	"crypto/sha256"
	_ "crypto/sha512" // likewise
	"os"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/boot/wire"
	"latchkey/unlock/tpm"
)

// tpmWait is how long a TPM may take to appear: its driver may be a
// module, and hubs and firmware TPMs are slow.
const tpmWait = 30 * time.Second

// Run is the role that measures into the TPM, as PID 1 orders. It tells
// PID 1 a PCR's old and new value before each extend and waits for its
// word, so that one who comes after it can tell what was done.
func Run(conn *wire.Conn, incarnation int) error {
	faults, err := latchFaults(incarnation)
	if err != nil {
		return conn.Fail(err)
	}

	ctx := context.Background()
	t, err := openTPM(ctx, tpmWait)
	if err != nil {
		return conn.Fail(err)
	}
	defer t.Close()
	l := &latch{conn, t, faults, map[uint8][32]byte{}}
	if err := l.serve(ctx); err != nil {
		return conn.Fail(err)
	}

	return nil
}

// latchFaults reads the plan only if a fault is asked for: the latch needs
// nothing else of it, and is in a hurry.
func latchFaults(incarnation int) (wire.Faults, error) {
	cmdline, err := os.ReadFile(wire.CmdlineAt)
	if err != nil || !strings.Contains(string(cmdline), "rd.latchkey.fault") {
		return wire.Faults{}, err
	}
	p, _, err := wire.ReadPlan()
	if err != nil {
		return wire.Faults{}, err
	}
	return wire.ReadFaults(p, "latch", incarnation, string(cmdline)), nil
}

type latch struct {
	conn   *wire.Conn
	tpm    *tpm.TPM
	faults wire.Faults
	// values are what PCRs held when this process last read or extended
	// them. Should something else have extended one since, then PID 1
	// learns a wrong value, but the extend itself is none the less done.
	values map[uint8][32]byte
}

// read returns a PCR, from the TPM only if this process has not seen it.
func (l *latch) read(ctx context.Context, pcr uint8) ([32]byte, error) {
	if v, ok := l.values[pcr]; ok {
		return v, nil
	}
	v, err := l.tpm.ReadPCR(ctx, int(pcr))
	if err == nil {
		l.values[pcr] = v
	}
	return v, err
}

func (l *latch) serve(ctx context.Context) error {
	var resume *wire.Record
	for {
		r, err := l.conn.Recv()
		if err != nil {
			return nil //nolint:nilerr // PID 1 closed the socket: the boot goes on without us
		}
		switch r.Kind {
		case wire.KindResume:
			resume = &r
		case wire.KindExtend:
			if err := l.extend(ctx, r, resume); err != nil {
				return err
			}
			resume = nil
		}
	}
}

// extend carries out one order, unless the one before us did.
func (l *latch) extend(ctx context.Context, order wire.Record, resume *wire.Record) error {
	old, err := l.read(ctx, order.PCR)
	if err != nil {
		return err
	}

	name := strings.ReplaceAll(order.Text, " ", "-")
	next := wire.Extended(old, order.New)
	switch {
	case resume != nil && old == resume.New:
		return l.conn.Send(wire.Record{Kind: wire.KindExtended, PCR: order.PCR, New: old})
	case resume != nil && old != resume.Old:
		return codes.Fail("latch", "PCR %d changed while nobody of ours extended it", order.PCR)
	case resume == nil:
		if order.Text == "enter-initrd" {
			if err := l.unused(ctx); err != nil {
				return err
			}
		}
		if err := l.conn.Send(wire.Record{Kind: wire.KindExtending, PCR: order.PCR, Old: old, New: next}); err != nil {
			return err
		}
		if r, err := l.conn.Recv(); err != nil || r.Kind != wire.KindGo {
			return codes.Fail("latch", "PID 1 did not say go")
		}
	}

	l.faults.At("before-" + name)
	if err := l.tpm.Extend(ctx, int(order.PCR), bankDigest(order)); err != nil {
		return err
	}

	l.faults.At("after-" + name)
	l.values[order.PCR] = next
	return l.conn.Send(wire.Record{Kind: wire.KindExtended, PCR: order.PCR, New: next})
}

// unused refuses a boot whose volumes were opened already: after a kexec
// PCR 15 is not zero any more.
func (l *latch) unused(ctx context.Context) error {
	v, err := l.read(ctx, 15)
	if err != nil {
		return err
	}
	if v != [32]byte{} {
		return codes.Fail("pcr15-used", "PCR 15 is not zero: this boot's volumes were opened before")
	}
	return nil
}

// bankDigest is what each bank is extended with: the order's digest in
// the SHA-256 bank. Other banks get the phase's name hashed with their own
// algorithm, as systemd does; for a volume, whose key is gone by now, the
// hash of the SHA-256 digest.
func bankDigest(order wire.Record) func(crypto.Hash) []byte {
	return func(h crypto.Hash) []byte {
		if h == crypto.SHA256 {
			return order.New[:]
		}
		text := []byte(order.Text)
		if sha256.Sum256(text) != order.New {
			text = order.New[:]
		}
		sum := h.New()
		sum.Write(text)
		return sum.Sum(nil)
	}
}

// openTPM waits for the TPM's device to appear and opens it.
func openTPM(ctx context.Context, wait time.Duration) (*tpm.TPM, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	events, err := device.Events(ctx) // before the first look: nothing is missed
	if err != nil {
		return nil, err
	}

	for {
		if _, err := os.Stat(tpm.DefaultPath); err == nil {
			return tpm.Open(tpm.DefaultPath)
		}
		select {
		case <-events:
		case <-ctx.Done():
			return nil, codes.Fail("tpm-missing", "no %s after %s", tpm.DefaultPath, wait)
		}
	}
}

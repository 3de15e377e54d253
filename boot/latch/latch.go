// Package latch is the role that measures into the TPM, as PID 1 orders,
// and so closes it behind the volumes. It speaks to nobody else.
package latch

import (
	"context"
	"crypto"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// tellWait is after how long people are told that there is no TPM yet.
const tellWait = 5 * time.Second

// System is what the latch asks of the machine: Kernel, or a fake in tests.
type System interface {
	// Plan reads the plan and the command line.
	Plan() (p *plan.Plan, cmdline string, err error)
	// OpenTPM waits for the TPM to appear and opens it. The code of its
	// error is codes.TPMMissing if none came.
	OpenTPM(ctx context.Context) (TPM, error)
}

// A TPM is what the latch needs of one: tpm.TPM says what each does.
type TPM interface {
	ReadPCRs(ctx context.Context, pcrs ...int) (map[int][32]byte, error)
	Extend(ctx context.Context, pcr int, digest func(crypto.Hash) []byte) error
	Banks(ctx context.Context) ([]string, error)
	Close() error
}

// Run is the role. It tells PID 1 a PCR's old and new value before each
// extend and waits for its word, so that one who comes after it can tell
// what was done.
func Run(sys System, conn *wire.Conn, incarnation int) error {
	ctx := context.Background()
	soon := time.AfterFunc(tellWait, func() {
		conn.Send(wire.Record{Kind: wire.KindWaiting, Code: codes.TPMMissing, Text: "no TPM has appeared yet; still waiting for one"})
	})
	t, err := sys.OpenTPM(ctx)
	soon.Stop()
	if err != nil {
		return conn.Fail(err)
	}
	defer t.Close()
	p, cmdline, err := sys.Plan()
	if err != nil {
		return conn.Fail(err)
	}

	l := &latch{conn, t, wire.ReadFaults(p, "latch", incarnation, cmdline), map[uint8][32]byte{}}
	if err := l.serve(ctx); err != nil {
		return conn.Fail(err)
	}
	return nil
}

// A latch is one run of the role.
type latch struct {
	conn   *wire.Conn
	tpm    TPM
	faults wire.Faults
	// values are what PCRs held when this process last read or extended
	// them. Should something else have extended one since, then PID 1
	// learns a wrong value, but the extend itself is none the less done.
	values map[uint8][32]byte
}

// read returns a PCR, from the TPM only if this process has not seen it. The
// first reading is of all that this boot needs: those that it extends, and
// those that the worker will quote.
func (l *latch) read(ctx context.Context, pcr uint8) ([32]byte, error) {
	if v, ok := l.values[pcr]; ok {
		return v, nil
	}
	pcrs := []int{int(pcr)}
	if len(l.values) == 0 && (pcr == 11 || pcr == 15) {
		pcrs = wire.Likely[:]
	}
	values, err := l.tpm.ReadPCRs(ctx, pcrs...)
	for index, v := range values {
		l.values[uint8(index)] = v
	}
	return l.values[pcr], err
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
	next := wire.Extended(old, order.Digests.SHA256)
	switch {
	case resume != nil && old == resume.New:
		return l.extended(ctx, order.PCR, old)
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
	if err := l.tpm.Extend(ctx, int(order.PCR), order.Digests.Of); err != nil {
		return err
	}

	l.faults.At("after-" + name)
	l.values[order.PCR] = next
	return l.extended(ctx, order.PCR, next)
}

// unused refuses a boot whose volumes were opened already: after a kexec
// PCR 15 is not zero any more.
func (l *latch) unused(ctx context.Context) error {
	v, err := l.read(ctx, 15)
	if err != nil {
		return err
	}
	return unused(v)
}

// Unused refuses such a boot, for those who measure by themselves.
func Unused(ctx context.Context, t TPM) error {
	v, err := t.ReadPCRs(ctx, 15)
	if err != nil {
		return err
	}
	return unused(v[15])
}

func unused(pcr15 [32]byte) error {
	if pcr15 != [32]byte{} {
		return codes.Fail("pcr15-used", "PCR 15 is not zero: this boot's volumes were opened before")
	}
	return nil
}

// extended tells PID 1 that an order is carried out, and in which banks.
// The TPM was asked for them before its first extend: it is not asked again.
func (l *latch) extended(ctx context.Context, index uint8, value [32]byte) error {
	banks, err := l.tpm.Banks(ctx)
	if err != nil {
		return err
	}
	return l.conn.Send(wire.Record{Kind: wire.KindExtended, PCR: index, New: value, Text: strings.Join(banks, " "), Held: l.held()})
}

// held are the values of wire.Likely, or zeros if one of them was not read.
func (l *latch) held() (held [len(wire.Likely)][32]byte) {
	all := held
	for i, n := range wire.Likely {
		v, ok := l.values[uint8(n)]
		if !ok {
			return held
		}
		all[i] = v
	}
	return all
}

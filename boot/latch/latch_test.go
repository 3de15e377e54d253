package latch_test

import (
	"context"
	"crypto"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"latchkey/boot/codes"
	"latchkey/boot/latch"
	"latchkey/boot/wire"
	"latchkey/internal/pcr"
	"latchkey/internal/plan"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// A machine is a System with a software TPM, or one that fails.
type machine struct {
	tpm   latch.TPM
	fails error
}

func (m machine) Plan() (*plan.Plan, string, error) { return &plan.Plan{}, "", nil }

func (m machine) OpenTPM(context.Context) (latch.TPM, error) { return m.tpm, m.fails }

// socket is a latch's side: orders that PID 1 gives, and what it hears.
type socket struct {
	orders chan wire.Record
	mu     sync.Mutex // Run and its timer write
	said   []wire.Record
	heard  func(wire.Record) // PID 1's part
}

func (s *socket) Read(b []byte) (int, error) {
	r, ok := <-s.orders
	if !ok {
		return 0, io.EOF
	}
	raw := r.Encode()
	return copy(b, raw[:]), nil
}

func (s *socket) Write(b []byte) (int, error) {
	r, err := wire.Decode(b)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, r)
	if s.heard != nil {
		s.heard(r)
	}
	return len(b), nil
}

// run gives a latch its orders, says go as PID 1 does, and returns what it
// said. The socket closes when last has been heard.
func run(t *testing.T, m machine, last wire.Kind, orders ...wire.Record) []wire.Record {
	t.Helper()
	s := &socket{orders: make(chan wire.Record, len(orders)+8)}
	for _, o := range orders {
		s.orders <- o
	}
	s.heard = func(r wire.Record) {
		switch r.Kind {
		case last:
			close(s.orders)
		case wire.KindExtending:
			s.orders <- wire.Record{Kind: wire.KindGo}
		}
	}
	if err := latch.Run(m, wire.NewConn(s), 0); err != nil {
		t.Fatal(err)
	}
	return s.said
}

func simulator(t *testing.T) *tpm.TPM {
	t.Helper()
	dev, err := tpm.Open(tpmtest.Start(t).Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

func order(index uint8, text string) wire.Record {
	return wire.Record{Kind: wire.KindExtend, PCR: index, Digests: pcr.Measure([]byte(text)), Text: text}
}

func held(t *testing.T, dev *tpm.TPM, n int) [32]byte {
	t.Helper()
	v, err := dev.ReadPCR(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Before each extend PID 1 hears the old and the new value, and its word is
// waited for; then the PCR holds what was said.
func TestExtend(t *testing.T) {
	dev := simulator(t)
	want := wire.Extended([32]byte{}, order(11, "enter-initrd").Digests.SHA256)
	said := run(t, machine{tpm: dev}, wire.KindExtended, order(11, "enter-initrd"))
	if len(said) != 2 || said[0].Kind != wire.KindExtending || said[0].Old != [32]byte{} || said[0].New != want ||
		said[1].Kind != wire.KindExtended || said[1].New != want {
		t.Errorf("said %+v, want extending and extended with %x", said, want)
	}
	if got := held(t, dev, 11); got != want {
		t.Errorf("PCR 11 = %x, want %x", got, want)
	}
}

// A latch that comes after one that died reads the PCR: what is done is not
// done twice, what is not is done now, and anything else ends the boot.
func TestResume(t *testing.T) {
	o := order(11, "leave-initrd")
	next := wire.Extended([32]byte{}, o.Digests.SHA256)
	for _, row := range []struct {
		name   string
		before func(*tpm.TPM) // what the dead one, or another program, did
		resume wire.Record    // what PID 1 remembers
		says   []wire.Kind
		code   string
		holds  [32]byte
	}{
		{"it died before", nil, wire.Record{Kind: wire.KindResume, PCR: 11, New: next}, []wire.Kind{wire.KindExtended}, "", next},
		{"it died after", func(dev *tpm.TPM) { extend(dev, o) }, wire.Record{Kind: wire.KindResume, PCR: 11, New: next}, []wire.Kind{wire.KindExtended}, "", next},
		{
			"somebody else extended", func(dev *tpm.TPM) { extend(dev, order(11, "x")) },
			wire.Record{Kind: wire.KindResume, PCR: 11, New: next},
			[]wire.Kind{wire.KindFailed},
			codes.Latch, wire.Extended([32]byte{}, order(11, "x").Digests.SHA256),
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			dev := simulator(t)
			if row.before != nil {
				row.before(dev)
			}
			said := run(t, machine{tpm: dev}, row.says[0], row.resume, o)
			var kinds []wire.Kind
			for _, r := range said {
				kinds = append(kinds, r.Kind)
			}
			if !slices.Equal(kinds, row.says) || said[len(said)-1].Code != row.code {
				t.Errorf("said %+v, want kinds %v and code %q", said, row.says, row.code)
			}
			if got := held(t, dev, 11); got != row.holds {
				t.Errorf("PCR 11 = %x, want %x", got, row.holds)
			}
		})
	}
}

func extend(dev *tpm.TPM, o wire.Record) {
	if err := dev.Extend(context.Background(), int(o.PCR), o.Digests.Of); err != nil {
		panic(err)
	}
}

// After a kexec PCR 15 is not zero any more: nothing is extended.
func TestKexec(t *testing.T) {
	dev := simulator(t)
	extend(dev, order(15, "a volume"))
	said := run(t, machine{tpm: dev}, wire.KindFailed, order(11, "enter-initrd"))
	if len(said) != 1 || said[0].Code != codes.PCR15Used || held(t, dev, 11) != [32]byte{} {
		t.Errorf("said %+v with PCR 11 = %x, want %s and PCR 11 as it was", said, held(t, dev, 11), codes.PCR15Used)
	}
}

// Orders of one boot follow each other: the phase, a volume, the last
// phase, with PCR 15 in use by then.
func TestWholeBoot(t *testing.T) {
	dev := simulator(t)
	s := &socket{orders: make(chan wire.Record, 8)}
	todo := []wire.Record{order(11, "enter-initrd"), order(15, "volume root"), order(11, "leave-initrd")}
	next := func() {
		if len(todo) == 0 {
			close(s.orders)
			return
		}
		s.orders <- todo[0]
		todo = todo[1:]
	}
	s.heard = func(r wire.Record) {
		switch r.Kind {
		case wire.KindExtending:
			s.orders <- wire.Record{Kind: wire.KindGo}
		case wire.KindExtended, wire.KindFailed:
			next()
		}
	}
	next()
	if err := latch.Run(machine{tpm: dev}, wire.NewConn(s), 0); err != nil {
		t.Fatal(err)
	}
	// One question for the banks, PCRs 11 and 15, and three extends.
	if n := dev.Commands(); n != 5 {
		t.Errorf("the latch sent %d commands, want 5", n)
	}
	sayHeld(t, s.said[1], dev)
	want11 := wire.Extended(wire.Extended([32]byte{}, order(11, "enter-initrd").Digests.SHA256), order(11, "leave-initrd").Digests.SHA256)
	want15 := wire.Extended([32]byte{}, order(15, "volume root").Digests.SHA256)
	if held(t, dev, 11) != want11 || held(t, dev, 15) != want15 {
		t.Errorf("PCR 11 = %x, PCR 15 = %x, want %x and %x; said %+v", held(t, dev, 11), held(t, dev, 15), want11, want15, s.said)
	}
}

// PID 1 that does not say go is not waited for beyond its socket.
func TestNoGo(t *testing.T) {
	dev := simulator(t)
	s := &socket{orders: make(chan wire.Record, 2)}
	s.orders <- order(11, "enter-initrd")
	s.heard = func(r wire.Record) {
		if r.Kind == wire.KindExtending {
			close(s.orders)
		}
	}
	if err := latch.Run(machine{tpm: dev}, wire.NewConn(s), 0); err != nil {
		t.Fatal(err)
	}
	if last := s.said[len(s.said)-1]; last.Kind != wire.KindFailed || last.Code != codes.Latch || held(t, dev, 11) != [32]byte{} {
		t.Errorf("said %+v, want %s and nothing extended", s.said, codes.Latch)
	}
}

// A TPM that cannot be opened has its own code.
func TestNoTPM(t *testing.T) {
	for _, err := range []error{codes.Fail(codes.TPMMissing, "no /dev/tpmrm0"), codes.Fail(tpm.CodeAbsent, "EIO"), errors.New("anything")} {
		said := run(t, machine{fails: err}, wire.KindFailed)
		if len(said) != 1 || said[0].Code != codes.Of(err) {
			t.Errorf("said %+v, want code %s", said, codes.Of(err))
		}
	}
}

// banks is a TPM that keeps what each bank was extended with.
type banks struct {
	latch.TPM
	on      []string
	digests map[string][]byte
}

func (b *banks) ReadPCRs(context.Context, ...int) (map[int][32]byte, error) { return nil, nil }

func (b *banks) Extend(_ context.Context, _ int, digest func(crypto.Hash) []byte) error {
	for _, name := range b.on {
		b.digests[name] = digest(pcr.Bank(name))
	}
	return nil
}

func (b *banks) Banks(context.Context) ([]string, error) { return b.on, nil }

func (b *banks) Close() error { return nil }

// Every bank that is on is extended with its own digest, and PID 1 hears
// which they are, also from a latch that came after the extend.
func TestBanks(t *testing.T) {
	on := []string{"sha1", "sha256", "sha384", "sha512"}
	for _, row := range []struct {
		name   string
		orders []wire.Record
		want   int // banks extended
	}{
		{"an order", []wire.Record{order(15, "volume root")}, 4},
		{"an order that was carried out", []wire.Record{{Kind: wire.KindResume, PCR: 15}, order(15, "volume root")}, 0},
	} {
		b := &banks{on: on, digests: map[string][]byte{}}
		said := run(t, machine{tpm: b}, wire.KindExtended, row.orders...)
		if last := said[len(said)-1]; last.Text != strings.Join(on, " ") {
			t.Errorf("%s: said %+v, want the banks %v", row.name, said, on)
		}
		if len(b.digests) != row.want {
			t.Errorf("%s: %d banks extended, want %d", row.name, len(b.digests), row.want)
		}
		for name, got := range b.digests {
			digests := pcr.Measure([]byte("volume root"))
			if want := digests.Of(pcr.Bank(name)); !slices.Equal(got, want) {
				t.Errorf("%s: bank %s extended with %x, want %x", row.name, name, got, want)
			}
		}
	}
}

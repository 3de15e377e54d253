package wire_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/pcr"
	"latchkey/internal/plan"
)

// full is a record with every field set.
func full() wire.Record {
	return wire.Record{
		Kind: wire.KindExtending, PCR: 23, Slot: 31, Code: "volume-missing", Name: "root", Text: "what happened",
		Start: 1500 * time.Millisecond, Duration: -time.Nanosecond, Old: sha256.Sum256([]byte("old")), New: sha256.Sum256([]byte("new")),
		Digests: pcr.Measure([]byte("digests")), Held: [len(wire.Likely)][32]byte{{4}, {7}, {8}, {9}, {11}, {12}, {15}},
	}
}

func TestRoundTrip(t *testing.T) {
	kinds := []wire.Kind{
		wire.KindAlive, wire.KindStep, wire.KindWaiting, wire.KindOpened, wire.KindRoot, wire.KindClosed, wire.KindDone, wire.KindFailed,
		wire.KindWantCiphers, wire.KindExtending, wire.KindExtended, wire.KindEntered, wire.KindCiphers, wire.KindExtend, wire.KindResume, wire.KindGo,
	}
	for _, k := range kinds {
		r := full()
		r.Kind = k
		b := r.Encode()
		if got, err := wire.Decode(b[:]); err != nil || got != r {
			t.Errorf("kind %d: Decode(Encode) = %v, %s", k, err, cmp.Diff(r, got))
		}
	}
}

// What does not fit is cut, and nothing that could write to a terminal or
// end a line comes through, whoever made the child say it.
func TestTexts(t *testing.T) {
	long := strings.Repeat("x", 600)
	for _, row := range []struct {
		name                   string
		code, record, text     string
		wantCode, wantN, wantT string
	}{
		{"as they are", "a", "b", "c", "a", "b", "c"},
		{"as long as they may be", long[:31], long[:63], long[:255], long[:31], long[:63], long[:255]},
		{"too long: cut", long, long, long, long[:31], long[:63], long[:255]},
		{"empty", "", "", "", "", "", ""},
		{"escape sequence", "", "", "\x1b[2J\x1b[31mroot opened", "", "", "?[2J?[31mroot opened"},
		{"a line of its own", "", "", "a\nlatchkey: all is well", "", "", "a?latchkey: all is well"},
		{"not ASCII", "", "", "caf\xc3\xa9", "", "", "caf?"},
	} {
		b := wire.Record{Kind: wire.KindStep, Code: row.code, Name: row.record, Text: row.text}.Encode()
		got, err := wire.Decode(b[:])
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got.Code != row.wantCode || got.Name != row.wantN || got.Text != row.wantT {
			t.Errorf("%s: %q, %q, %q, want %q, %q, %q", row.name, got.Code, got.Name, got.Text, row.wantCode, row.wantN, row.wantT)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"nothing", func(b []byte) []byte { return nil }},
		{"one byte", func(b []byte) []byte { return b[:1] }},
		{"a byte less", func(b []byte) []byte { return b[:wire.Size-1] }},
		{"a byte more", func(b []byte) []byte { return append(b, 0) }},
		{"kind 0", func(b []byte) []byte { b[0] = 0; return b }},
		{"a kind behind the last", func(b []byte) []byte { b[0] = byte(wire.KindGo) + 1; return b }},
		{"kind 255", func(b []byte) []byte { b[0] = 255; return b }},
		{"PCR 24", func(b []byte) []byte { b[1] = 24; return b }},
	} {
		b := full().Encode()
		if r, err := wire.Decode(row.change(b[:])); err == nil {
			t.Errorf("%s: Decode = %+v, want an error", row.name, r)
		}
	}
}

// A length byte that is larger than its field reads no other field.
func TestDecodeLengths(t *testing.T) {
	b := wire.Record{Kind: wire.KindStep, Code: "c", Name: "n", Text: "t", Start: 1<<62 - 1}.Encode()
	for _, at := range []int{4, 36, 100} { // of Code, Name and Text
		b[at] = 255
	}
	r, err := wire.Decode(b[:])
	if err != nil || len(r.Code) > 31 || len(r.Name) > 63 || len(r.Text) > 255 {
		t.Errorf("Decode = %+v, %v, want texts of at most 31, 63 and 255 bytes", r, err)
	}
}

// FuzzDecode: whatever a child sends, a record that is taken is printable,
// bounded and survives being sent on.
func FuzzDecode(f *testing.F) {
	b := full().Encode()
	f.Add(b[:])
	f.Add(bytes.Repeat([]byte{255}, wire.Size))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.Decode(b)
		if err != nil {
			return
		}
		if r.PCR > 23 || len(r.Code) > 31 || len(r.Name) > 63 || len(r.Text) > 255 {
			t.Errorf("Decode = %+v: out of bounds", r)
		}
		for _, c := range r.Code + r.Name + r.Text {
			if c < ' ' || c > '~' {
				t.Errorf("Decode lets %q through", c)
			}
		}
		again := r.Encode()
		if got, err := wire.Decode(again[:]); err != nil || got != r {
			t.Errorf("Decode(Encode) = %+v, %v, want %+v", got, err, r)
		}
	})
}

// pipe is a socket that keeps datagrams apart.
type pipe struct {
	in  [][]byte
	out [][]byte
}

func (p *pipe) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in[0])
	p.in = p.in[1:]
	return n, nil
}

func (p *pipe) Write(b []byte) (int, error) {
	p.out = append(p.out, bytes.Clone(b))
	return len(b), nil
}

func TestConn(t *testing.T) {
	b := full().Encode()
	p := &pipe{in: [][]byte{b[:], b[:5], append(b[:], 1)}}
	c := wire.NewConn(p)
	if r, err := c.Recv(); err != nil || r != full() {
		t.Errorf("Recv = %+v, %v", r, err)
	}
	for _, what := range []string{"a short one", "a long one", "the end"} {
		if r, err := c.Recv(); err == nil {
			t.Errorf("Recv of %s = %+v, want an error", what, r)
		}
	}

	if err := c.Fail(codes.Fail("volume-missing", "no disk: %w", errors.New("gone"))); err != nil {
		t.Fatal(err)
	}
	got, err := wire.Decode(p.out[0])
	want := wire.Record{Kind: wire.KindFailed, Code: "volume-missing", Text: "no disk: gone"}
	if err != nil || got != want {
		t.Errorf("Fail sent %+v, %v, want %+v", got, err, want)
	}
}

// A fault strikes a debug image's first incarnation of its role, and no
// other: nobody can have a release panic by the command line.
func TestFaults(t *testing.T) {
	const line = "quiet rd.latchkey.fault=worker:disks:panic rd.latchkey.fault=latch:x:panic rd.latchkey.fault=odd rd.latchkey.fault=worker:a:b:c"
	for _, row := range []struct {
		name        string
		debug       bool
		role        string
		incarnation int
		cmdline     string
		point       string
		strikes     bool
	}{
		{"the point of the role", true, "worker", 0, line, "disks", true},
		{"of the other role", true, "latch", 0, line, "x", true},
		{"another point", true, "worker", 0, line, "kms", false},
		{"not its role", true, "latch", 0, line, "disks", false},
		{"the second incarnation", true, "worker", 1, line, "disks", false},
		{"a release", false, "worker", 0, line, "disks", false},
		{"no fault", true, "worker", 0, "quiet", "disks", false},
	} {
		f := wire.ReadFaults(&plan.Plan{Debug: row.debug}, row.role, row.incarnation, row.cmdline)
		if got := strikes(f, row.point); got != row.strikes {
			t.Errorf("%s: strikes = %t, want %t", row.name, got, row.strikes)
		}
	}
	if strikes(wire.Faults{}, "disks") {
		t.Error("the zero Faults strikes")
	}
}

func strikes(f wire.Faults, point string) (hit bool) {
	defer func() { hit = recover() != nil }()
	f.At(point)
	return false
}

// The value is Python's hashlib's for systemd's phase enter-initrd on a
// fresh PCR 11.
func TestExtended(t *testing.T) {
	got := wire.Extended([32]byte{}, sha256.Sum256([]byte("enter-initrd")))
	if want := "d15b0e8e244e65c40f024e95773f2347ce4ef3ffe6b597c9a14b50bbab6df319"; hex.EncodeToString(got[:]) != want {
		t.Errorf("Extended = %x, want %s", got, want)
	}
}

func TestNow(t *testing.T) {
	a := wire.Now()
	b := wire.Now()
	if a <= 0 || b < a {
		t.Errorf("Now = %s, then %s", a, b)
	}
}

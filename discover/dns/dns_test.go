package dns_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"latchkey/discover/dns"
)

var cmpAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// every has one record of each kind, in every section.
var every = dns.Message{
	ID: 0x1234, Response: true, Authoritative: true, Recurse: true, RCode: 3, Opcode: 2,
	Questions: []dns.Question{{Name: "kms.local", Type: dns.TypeA, Class: dns.ClassIN, Unicast: true}, {Name: "", Type: dns.TypeANY, Class: dns.ClassANY}},
	Answers: []dns.Record{
		{Name: "kms.local", Class: 1, Flush: true, TTL: 120, Data: dns.A{Addr: netip.MustParseAddr("192.0.2.5")}},
		{Name: "KMS.local", Class: 1, TTL: 1 << 31, Data: dns.AAAA{Addr: netip.MustParseAddr("2001:db8::5")}},
		{Name: "_latchkey._tcp.local", Class: 1, TTL: 1, Data: dns.PTR{Target: `Key server v1\.2 \\ ü._latchkey._tcp.local`}},
	},
	Authorities: []dns.Record{{Name: `Key server v1\.2 \\ ü._latchkey._tcp.local`, Class: 1, Data: dns.SRV{Priority: 1, Weight: 2, Port: 3, Target: "kms.local"}}},
	Additionals: []dns.Record{
		{Name: "a.local", Class: 1, Data: dns.Text("v=1", "x")},
		{Name: "b.local", Class: 1, Data: dns.CNAME{Target: "a.local"}},
		{Name: "kms.local", Class: 1, Data: dns.NSEC{Next: "kms.local", Types: dns.Types(dns.TypeA, dns.TypeAAAA)}},
		{Name: "c.local", Class: 254, Data: dns.Raw{Kind: 99, Data: "\x00\xff"}},
	},
}

func TestRoundTrip(t *testing.T) {
	packet, err := every.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got, err := dns.Parse(packet)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&every, got, cmpAddr); diff != "" {
		t.Errorf("Parse(Pack()) (-want +got):\n%s", diff)
	}
}

// The recorded packets of Kairos' client and responder.
func TestRecorded(t *testing.T) {
	f, err := os.Open("../testdata/kairos-mdns.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		packet, err := hex.DecodeString(fields[len(fields)-1])
		if err != nil {
			continue // a line without a packet
		}

		n++
		m, err := dns.Parse(packet)
		if err != nil {
			t.Errorf("Parse(%s) = %v, want nil", lines.Text(), err)
			continue
		}

		if strings.HasPrefix(lines.Text(), "responder reply") {
			srv := m.Answers[1].Data.(dns.SRV)
			if srv.Port != 30000 || srv.Target != "mychallenger.local" {
				t.Errorf("SRV = %+v, want port 30000 of mychallenger.local", srv)
			}
		}
	}

	if n != 3 {
		t.Errorf("%d packets in the recording, want 3", n)
	}
}

func TestParseRefuses(t *testing.T) {
	header := func(counts string) string { return "\x00\x00\x00\x00" + counts }
	for _, row := range []struct{ name, packet string }{
		{"empty", ""},
		{"half a header", "\x00\x00\x00\x00"},
		{"question missing", header("\x00\x01\x00\x00\x00\x00\x00\x00")},
		{"name without end", header("\x00\x01\x00\x00\x00\x00\x00\x00") + "\x03kms"},
		{"pointer to itself", header("\x00\x01\x00\x00\x00\x00\x00\x00") + "\xc0\x0c\x00\x01\x00\x01"},
		{"pointers in a circle", header("\x00\x01\x00\x00\x00\x00\x00\x00") + "\xc0\x0e\xc0\x0c\x00\x01\x00\x01"},
		{"pointer forward", header("\x00\x01\x00\x00\x00\x00\x00\x00") + "\xc0\x20\x00\x01\x00\x01"},
		{"label of 64", header("\x00\x01\x00\x00\x00\x00\x00\x00") + "\x40" + strings.Repeat("a", 64) + "\x00\x00\x01\x00\x01"},
		{"name of 256", header("\x00\x01\x00\x00\x00\x00\x00\x00") + strings.Repeat("\x3f"+strings.Repeat("a", 63), 4) + "\x00\x00\x01\x00\x01"},
		{"data beyond the end", header("\x00\x00\x00\x01\x00\x00\x00\x00") + "\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x05abcd"},
		{"A of three bytes", header("\x00\x00\x00\x01\x00\x00\x00\x00") + "\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x03abc"},
		{"A of five bytes", header("\x00\x00\x00\x01\x00\x00\x00\x00") + "\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x05abcde"},
		{"PTR that ends outside its data", header("\x00\x00\x00\x01\x00\x00\x00\x00") + "\x00\x00\x0c\x00\x01\x00\x00\x00\x00\x00\x02\x03kms\x00"},
		{"65535 records", header("\x00\x00\xff\xff\x00\x00\x00\x00")},
		{"9001 bytes", strings.Repeat("\x00", 9001)},
	} {
		t.Run(row.name, func(t *testing.T) {
			if m, err := dns.Parse([]byte(row.packet)); err == nil {
				t.Errorf("Parse() = %+v, want an error", m)
			}
		})
	}
}

func TestPackRefuses(t *testing.T) {
	for _, name := range []dns.Name{
		dns.Name(strings.Repeat("a", 64)), dns.Name(strings.Repeat("abcdefg.", 32)) + "local", "a..b", ".local",
	} {
		m := dns.Message{Questions: []dns.Question{{Name: name}}}
		if packet, err := m.Pack(); err == nil {
			t.Errorf("Pack(%q) = %x, want an error", name, packet)
		}
	}
}

func TestName(t *testing.T) {
	n := dns.Label(`v1.2 \ü`).Under("_x._tcp.Local")
	if label, parent := n.Cut(); label != `v1.2 \ü` || parent != "_x._tcp.Local" {
		t.Errorf("Cut(%q) = %q, %q", n, label, parent)
	}
	for _, row := range []struct {
		name, suffix dns.Name
		want         bool
	}{
		{"kms.local", "local", true},
		{"kms.LOCAL", "Local", true},
		{"local", "local", true},
		{"kmslocal", "local", false},
		{`kms\.local`, "local", false},
		{"kms.local.org", "local", false},
		{"", "local", false},
	} {
		if got := row.name.HasSuffix(row.suffix); got != row.want {
			t.Errorf("%q.HasSuffix(%q) = %v, want %v", row.name, row.suffix, got, row.want)
		}
	}
}

// FuzzParse compares with golang.org/x/net/dns/dnsmessage: what it takes
// and writes again, without the forward pointers that it allows, we take;
// and what we take, we can write, and both can read again.
func FuzzParse(f *testing.F) {
	packet, err := every.Pack()
	if err != nil {
		f.Fatal(err)
	}

	f.Add(packet)
	recorded, err := os.ReadFile("../testdata/kairos-mdns.txt")
	if err != nil {
		f.Fatal(err)
	}

	for field := range strings.FieldsSeq(string(recorded)) {
		if packet, err := hex.DecodeString(field); err == nil && len(packet) > 12 {
			f.Add(packet)
		}
	}

	f.Fuzz(func(t *testing.T, packet []byte) {
		m, err := dns.Parse(packet)
		if err != nil {
			var theirs dnsmessage.Message
			if theirs.Unpack(packet) != nil || len(packet) > dns.MaxMessage || !strict(&theirs) {
				return
			}
			if packet, err = theirs.Pack(); err == nil {
				if _, err := dns.Parse(packet); err != nil {
					t.Fatalf("Parse(%x) = %v, but dnsmessage takes it: %v", packet, err, theirs.GoString())
				}
			}
			return
		}

		again, err := m.Pack()
		if err != nil {
			return // without compression it may be too long
		}

		back, err := dns.Parse(again)
		if err != nil {
			t.Fatalf("Parse(Pack(%+v)) = %v", m, err)
		}

		var theirs dnsmessage.Message
		text := fmt.Sprintf("%+v", m)
		if err := theirs.Unpack(again); err != nil && !strings.Contains(text, `\.`) && !strings.Contains(text, "{Kind:") && !cut(m) {
			t.Fatalf("dnsmessage does not read %x of %+v: %v", again, m, err)
		}

		if diff := cmp.Diff(m, back, cmpAddr); diff != "" && !rewritten(m) {
			t.Fatalf("Parse(Pack()) (-want +got):\n%s", diff)
		}
	})
}

// cut tells whether a TXT ends inside a string. We leave that string out;
// dnsmessage refuses the message.
func cut(m *dns.Message) bool {
	for _, section := range [][]dns.Record{m.Answers, m.Authorities, m.Additionals} {
		for _, r := range section {
			if t, ok := r.Data.(dns.TXT); ok && len(t.Text) > 0 && dns.Text(t.Strings()...) != t {
				return true
			}
		}
	}
	return false
}

// strict tells whether a message that dnsmessage took keeps our rules,
// too: it leaves bytes at the end of data unread, and knows no NSEC.
func strict(m *dnsmessage.Message) bool {
	if len(m.Questions)+len(m.Answers)+len(m.Authorities)+len(m.Additionals) > 256 {
		return false
	}
	for _, section := range [][]dnsmessage.Resource{m.Answers, m.Authorities, m.Additionals} {
		for _, r := range section {
			switch r.Header.Type {
			case dnsmessage.TypeTXT, dnsmessage.TypeOPT:
			case dnsmessage.TypeA:
				if r.Header.Length != 4 {
					return false
				}
			case dnsmessage.TypeAAAA:
				if r.Header.Length != 16 {
					return false
				}
			default:
				return false
			}
		}
	}
	return true
}

// rewritten tells whether Pack says a message in another way: class 0 is
// written as IN.
func rewritten(m *dns.Message) bool {
	for _, q := range m.Questions {
		if q.Class == 0 {
			return true
		}
	}
	for _, section := range [][]dns.Record{m.Answers, m.Authorities, m.Additionals} {
		for _, r := range section {
			if r.Class == 0 {
				return true
			}
		}
	}
	return false
}

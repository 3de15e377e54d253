package proxy_test

import (
	"bytes"
	"strings"
	"testing"

	"latchkey/kms/front/proxy"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

func TestReadHeader(t *testing.T) {
	v4 := "\xc0\x00\x02\x09\x0a\x00\x00\x01\x12\x34\x00\x50"
	v6 := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x00", 16) + "\x12\x34\x00\x50"
	for _, row := range []struct{ name, header, want string }{
		{"TCP over IPv4", signature + "\x21\x11\x00\x0c" + v4, "192.0.2.9:4660"},
		{"TCP over IPv6", signature + "\x21\x21\x00\x24" + v6, "[2001:db8::1]:4660"},
		{"extensions after the addresses", signature + "\x21\x11\x00\x10" + v4 + "\x04\x00\x01x", "192.0.2.9:4660"},
		{"LOCAL", signature + "\x20\x00\x00\x00", "invalid AddrPort"},
		{"UDP", signature + "\x21\x12\x00\x0c" + v4, ""},
		{"addresses cut short", signature + "\x21\x11\x00\x0b" + v4, ""},
		{"IPv6 in the room of IPv4", signature + "\x21\x21\x00\x0c" + v4, ""},
		{"version 1", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", ""},
		{"version 3", signature + "\x31\x11\x00\x0c" + v4, ""},
		{"an unknown command", signature + "\x22\x11\x00\x0c" + v4, ""},
		{"more than there can be", signature + "\x21\x11\x04\x01" + v4, ""},
		{"nothing", "", ""},
	} {
		rest := "GET / HTTP/1.1"
		r := strings.NewReader(row.header + rest)
		if row.want == "" {
			r = strings.NewReader(row.header)
		}
		client, err := proxy.ReadHeader(r)
		if (err != nil) != (row.want == "") || err == nil && client.String() != row.want {
			t.Errorf("%s: ReadHeader = %v, %v, want %s", row.name, client, err, row.want)
		}
		if err == nil && r.Len() != len(rest) {
			t.Errorf("%s: ReadHeader left %d bytes, want the %d that follow the header", row.name, r.Len(), len(rest))
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte(signature + "\x21\x11\x00\x0c\xc0\x00\x02\x09\x0a\x00\x00\x01\x12\x34\x00\x50"))
	f.Add([]byte(signature + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		client, err := proxy.ReadHeader(r)
		if err == nil && client.IsValid() && len(b)-r.Len() < 28 {
			t.Errorf("ReadHeader(%q) = %v out of %d bytes", b, client, len(b)-r.Len())
		}
	})
}

package server_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/server"
	"latchkey/kms/server/kairos"
)

// withTLS serves both protocols on a listener with a certificate.
func withTLS(p *pair, version uint16) option {
	return func(f *fixture) {
		f.protocols = []server.Protocol{server.LK1, server.Kairos}
		f.front = front.Options{TLS: p.load(f.t).Config(version)}
	}
}

// One port: lk1 with and without TLS, Kairos only with it.
func TestTLSBesidePlain(t *testing.T) {
	p := newPair(t, "kms")
	f := newKMS(t, withTLS(p, tls.VersionTLS13))
	f.mustGet(f.approved())
	for url, want := range map[string]int{f.url: http.StatusUpgradeRequired, strings.Replace(f.url, "http", "https", 1): http.StatusBadRequest} {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.pool}}}
		reply, err := client.Get(url + kairos.AttestationPath)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", url, reply.StatusCode, want)
		}
	}

	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: p.pool}}
	conn, _, err := dialer.Dial(strings.Replace(f.url, "http", "wss", 1)+kairos.AttestationPath, nil)
	if err != nil {
		t.Fatal(err)
	}

	conn.Close()
}

func TestTLSVersion(t *testing.T) {
	for _, row := range []struct {
		least, client uint16
		ok            bool
	}{
		{tls.VersionTLS13, tls.VersionTLS13, true},
		{tls.VersionTLS13, tls.VersionTLS12, false},
		{tls.VersionTLS12, tls.VersionTLS12, true},
		{tls.VersionTLS12, tls.VersionTLS11, false},
	} {
		p := newPair(t, "kms")
		f := newKMS(t, withTLS(p, row.least))
		err := handshake(f, p, row.client)
		if (err == nil) != row.ok {
			t.Errorf("server of %s, client of %s: %v, want success %v", tls.VersionName(row.least), tls.VersionName(row.client), err, row.ok)
		}
	}
}

func handshake(f *fixture, p *pair, version uint16) error {
	conn, err := tls.Dial("tcp", strings.TrimPrefix(f.url, "http://"), &tls.Config{RootCAs: p.pool, MinVersion: version, MaxVersion: version})
	if err == nil {
		conn.Close()
	}
	return err
}

// D7 behind TLS: those who never finish a handshake make room.
func TestHalfOpenHandshakes(t *testing.T) {
	f := newKMS(t, withTLS(newPair(t, "kms"), tls.VersionTLS13))
	tpm := f.approved()
	for i := range 64 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte{22, 3, 1}[:i%4])
	}
	f.mustGet(tpm)
}

// here4 is what loopback's connections come from.
var here4 = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

// proxyHeader is HAProxy's example of a version 2 header, made by hand.
func proxyHeader(from string) []byte {
	a := netip.MustParseAddrPort(from)
	src := a.Addr().AsSlice()
	family, dst := byte(0x11), make([]byte, len(src))
	if a.Addr().Is6() {
		family = 0x21
	}
	head := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21"), family)
	head = binary.BigEndian.AppendUint16(head, uint16(2*len(src)+4))
	head = append(append(head, src...), dst...)
	return append(binary.BigEndian.AppendUint16(head, a.Port()), 0, 80)
}

// Behind a proxy that says who asks, each client has its own limit, and its
// own address in the log.
func TestProxyProtocol(t *testing.T) {
	f := newKMS(t, func(f *fixture) { f.front = front.Options{Proxies: here4, ProxyProtocol: true} })
	dialAs := func(from string) net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(proxyHeader(from))
		return conn
	}

	var held []net.Conn
	for i := range 40 { // more than one address may have
		held = append(held, dialAs(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 9).String()))
	}
	tpm := newTPM(t)
	client := f.client()
	client.Dial = func(context.Context, string, string) (net.Conn, error) { return dialAs("[2001:db8::7]:1"), nil }
	if _, err := client.Get(context.Background(), f.url, tpm, wants()); code(err) != "pending" {
		t.Fatalf("Get through a proxy = %v, want pending", err)
	}

	if from := f.lastFrom(); from != "2001:db8::7" {
		t.Errorf("the log says that it came from %q, want 2001:db8::7", from)
	}
	for i, conn := range held {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: kms\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if reply, _ := io.ReadAll(conn); !strings.HasPrefix(string(reply), "HTTP/1.1 404") {
			t.Errorf("client %d of the proxy got %.20q, want 404", i, reply)
		}
	}
}

// A proxy that does not say so is not heard, and nobody else is at all.
func TestProxyProtocolRefused(t *testing.T) {
	other := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, row := range []struct {
		name    string
		proxies []netip.Prefix
		sent    string
		want    string // how the answer begins
	}{
		{"a proxy without header", here4, "GET / HTTP/1.1\r\nHost: kms\r\n\r\n", ""},
		{"version 1", here4, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", ""},
		{"too long", here4, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("x", 4096), ""},
		{"a Unix socket", here4, "\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("x", 216), ""},
		{"its own health check", here4, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 404"},
		{"somebody else", other, string(proxyHeader("192.0.2.1:1")), "HTTP/1.1 400"},
	} {
		f := newKMS(t, func(f *fixture) { f.front = front.Options{Proxies: row.proxies, ProxyProtocol: true} })
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(4 * time.Second))
		io.WriteString(conn, row.sent)
		if reply, _ := io.ReadAll(conn); !strings.HasPrefix(string(reply), row.want) || row.want == "" && len(reply) > 0 {
			t.Errorf("%s: the answer begins %.30q, want %q", row.name, reply, row.want)
		}
		conn.Close()
	}
}

// X-Forwarded-For counts from a proxy, from its end, and from nobody else.
func TestForwardedFor(t *testing.T) {
	for _, row := range []struct {
		name    string
		proxies []netip.Prefix
		header  string
		want    string
	}{
		{"one hop", here4, "192.0.2.9", "192.0.2.9"},
		{"what the client made up comes first", here4, "10.0.0.1, 192.0.2.9", "192.0.2.9"},
		{"two proxies of ours", append(here4, netip.MustParsePrefix("10.0.0.0/8")), "192.0.2.9, 10.0.0.1", "192.0.2.9"},
		{"IPv6", here4, "2001:db8::1", "2001:db8::1"},
		{"no address", here4, "unknown", "127.0.0.1"},
		{"none", here4, "", "127.0.0.1"},
		{"no proxy of ours", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "198.51.100.9", "127.0.0.1"},
	} {
		f := newKMS(t, func(f *fixture) { f.front = front.Options{Proxies: row.proxies} })
		client := f.client()
		client.Dial = func(context.Context, string, string) (net.Conn, error) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
			return &forwarding{conn, row.header}, err
		}

		if _, err := client.Get(context.Background(), f.url, newTPM(t), wants()); code(err) != "pending" {
			t.Fatalf("%s: Get = %v, want pending", row.name, err)
		}
		if from := f.lastFrom(); from != row.want {
			t.Errorf("%s: the log says that it came from %q, want %q", row.name, from, row.want)
		}
	}
}

// forwarding is a connection through an HTTP proxy, which adds a header.
type forwarding struct {
	net.Conn
	header string
}

func (c *forwarding) Write(b []byte) (int, error) {
	with := strings.Replace(string(b), " HTTP/1.1\r\n", " HTTP/1.1\r\nX-Forwarded-For: "+c.header+"\r\n", 1)
	if _, err := io.WriteString(c.Conn, with); err != nil {
		return 0, err
	}
	return len(b), nil
}

// lastFrom is the address in the log's last event of a node.
func (f *fixture) lastFrom() (from string) {
	for _, e := range f.log() {
		if e.Node != "" {
			from = e.From
		}
	}
	return from
}

// Exchanges under way end before the server does, those of websockets too.
func TestShutdownWaits(t *testing.T) {
	f := newKMS(t, speaksKairos)
	conn, _, err := websocket.DefaultDialer.Dial(strings.Replace(f.url, "http", "ws", 1)+kairos.AttestationPath, nil)
	if err != nil {
		t.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- f.web.Shutdown(context.Background()) }()
	select {
	case err := <-ended:
		t.Fatalf("Shutdown = %v while an exchange was under way", err)
	case <-time.After(100 * time.Millisecond):
	}

	conn.Close()
	if err := <-ended; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if _, err := f.get(newTPM(t)); code(err) != kms.CodeUnreachable {
		t.Errorf("Get after Shutdown = %v, want %s", err, kms.CodeUnreachable)
	}
}

// What one client may do at once is counted behind a proxy as before it.
func TestForwardedLimit(t *testing.T) {
	f := newKMS(t, speaksKairos, func(f *fixture) { f.front = front.Options{Proxies: here4, Limits: front.Limits{PerAddress: 3}} })
	dial := func(client string) int {
		conn, reply, err := websocket.DefaultDialer.Dial(strings.Replace(f.url, "http", "ws", 1)+kairos.AttestationPath, http.Header{"X-Forwarded-For": {client}})
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return reply.StatusCode
	}
	for i, want := range []int{101, 101, 101, http.StatusServiceUnavailable} {
		if got := dial("192.0.2.1"); got != want {
			t.Errorf("exchange %d of one client: %d, want %d", i+1, got, want)
		}
	}

	if got := dial("192.0.2.2"); got != 101 {
		t.Errorf("another client: %d, want 101", got)
	}
}

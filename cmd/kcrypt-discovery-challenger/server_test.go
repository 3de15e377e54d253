package main

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"latchkey/internal/cloudconfig"
	"latchkey/unlock/source/kairos"
)

// A certificate is verified against the name in the URL, whatever the address
// is that mDNS or DNS gave for it.
func TestCertificateName(t *testing.T) {
	u, err := kairos.ParseURL("https://kms.local/challenge")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		names []string
		ips   []net.IP
		want  string
	}{
		{"its own", []string{"kms.local"}, nil, ""},
		{"another machine's", []string{"other.local"}, nil, "x509: certificate is valid for other.local, not kms.local"},
		{"that of the address", nil, []net.IP{net.IPv4(127, 0, 0, 1)}, "x509: certificate is not valid for any names, but wanted to match kms.local"},
	} {
		cert, key := selfSigned(func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}, row.names, row.ips...)
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if conn, err := l.Accept(); err == nil {
				conn.(*tls.Conn).Handshake()
				conn.Close()
			}
		}()
		config, err := tlsConfig(u, string(cert))
		if err != nil {
			t.Fatal(err)
		}
		found := func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "kms.local:443" {
				t.Errorf("%s is looked for, want kms.local:443", address)
			}
			return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
		}
		conn, err := way{u, found, config}.connect(t.Context())
		if err == nil {
			conn.Close()
		}
		if got := errorText(err); row.want == "" && err != nil || !strings.Contains(got, row.want) {
			t.Errorf("%s: connect = %q, want %q", row.name, got, row.want)
		}
		if row.want != "" && err == nil {
			t.Errorf("%s: it was taken", row.name)
		}
		l.Close()
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

// What cannot lead to a server is said before anything is asked.
func TestServerOf(t *testing.T) {
	for _, row := range []struct {
		config cloudconfig.Config
		want   string
	}{
		{cloudconfig.Config{Server: "kms.local"}, `challenger_server "kms.local": it must begin with http://`},
		{cloudconfig.Config{Server: "http://192.0.2.5", MDNS: true}, "its host must end in .local"},
		{cloudconfig.Config{Server: "https://192.0.2.5", Certificate: "-----BEGIN CERTIFICATE-----"}, "no certificate in it"},
	} {
		if _, err := serverOf(t.Context(), row.config); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("serverOf(%+v) = %v, want %q", row.config, err, row.want)
		}
	}
}

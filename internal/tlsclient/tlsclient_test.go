package tlsclient_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"latchkey/internal/plan"
	"latchkey/internal/tlsclient"
	"latchkey/internal/tlsclient/tlstest"
)

// TestClient: whom the plan knows, and nobody else. The clock says the first
// of January 2000, as that of a machine without a battery: synctest's does.
func TestClient(t *testing.T) {
	now, past, future := tlstest.Years(1999, 2001), tlstest.Years(1990, 1995), tlstest.Years(2020, 2030)
	root, other, gone := tlstest.New(now), tlstest.New(now), tlstest.New(past)
	server := func(a *tlstest.Authority, at tlstest.Time, names ...string) tls.Certificate {
		return a.Server(at, x509.ExtKeyUsageServerAuth, names...)
	}
	good := server(root, now, "kms.example", "192.0.2.7", "2001:db8::7")
	bare := server(root, now, "kms.example")
	bare.Certificate = bare.Certificate[:1]
	below := server(root.Below(now), now, "kms.example")
	lost := below
	lost.Certificate = lost.Certificate[:1]
	long := good
	for range 10 {
		long.Certificate = append(long.Certificate[:len(long.Certificate):len(long.Certificate)], good.Certificate[0])
	}
	ca := func(a ...*tlstest.Authority) (t plan.TLS) {
		for _, one := range a {
			t.CA = append(t.CA, one.PEM())
		}
		return t
	}
	for _, row := range []struct {
		name  string
		shows tls.Certificate
		host  string
		trust plan.TLS
		says  string // "": it is taken
		warns bool
	}{
		{"of the CA", good, "kms.example", ca(root), "", false},
		{"one of two CAs", good, "kms.example", ca(other, root), "", false},
		{"two in one file", good, "kms.example", plan.TLS{CA: []string{other.PEM() + root.PEM()}}, "", false},
		{"of another CA", good, "kms.example", ca(other), "unknown authority", false},
		{"another name", good, "kms2.example", ca(root), "not kms2.example", false},
		{"an address", good, "192.0.2.7", ca(root), "", false},
		{"an address of IPv6 with its zone", good, "2001:db8::7%eth0", ca(root), "", false},
		{"another address", good, "192.0.2.8", ca(root), "not 192.0.2.8", false},
		{"an authority between", below, "kms.example", ca(root), "", false},
		{"an authority between, not shown", lost, "kms.example", ca(root), "unknown authority", false},
		{"its own certificate", bare, "kms.example", plan.TLS{CA: []string{tlstest.PEM(bare.Leaf)}}, "", false},
		{"a client's certificate", root.Server(now, x509.ExtKeyUsageClientAuth, "kms.example"), "kms.example", ca(root), "incompatible key usage", false},
		{"its time is over", server(root, past, "kms.example"), "kms.example", ca(root), "expired", false},
		{"their time is over", server(gone, past, "kms.example"), "kms.example", ca(gone), "", true},
		{"the clock is slow", server(tlstest.New(future), future, "kms.example"), "kms.example", plan.TLS{}, "which the plan does not pin", false},
		{"its time is over, and another name", server(gone, past, "kms.example"), "kms2.example", ca(gone), "not kms2.example", false},
		{"its time is over, and of another CA", server(gone, past, "kms.example"), "kms.example", ca(other), "unknown authority", false},
		{"pinned", good, "another.example", plan.TLS{Pins: []string{tlsclient.Pin(good.Leaf)}}, "", false},
		{"pinned, its time is over", server(gone, past), "kms.example", plan.TLS{}, "which the plan does not pin", false},
		{"another pin", good, "kms.example", plan.TLS{Pins: []string{tlsclient.Pin(bare.Leaf)}}, "the key of kms.example is " + tlsclient.Pin(good.Leaf) + ", which the plan does not pin", false},
		{"another pin, and the CA", good, "kms.example", plan.TLS{Pins: []string{tlsclient.Pin(bare.Leaf)}, CA: []string{root.PEM()}}, "", false},
		{"the pin is of one further up", below, "x.example", plan.TLS{Pins: []string{pinOf(t, below.Certificate[1])}}, "does not pin", false},
		{"eleven certificates", long, "kms.example", ca(root), "11 certificates, want 1 to 10", false},
		{"a CA that is none", good, "kms.example", plan.TLS{CA: []string{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}, "reading a certificate", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, err := ask(t.Context(), &tls.Config{Certificates: []tls.Certificate{row.shows}, NextProtos: []string{"h2"}}, plan.TLSServer{Host: row.host, Protocol: "h2", Trust: row.trust})
				if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
					t.Errorf("%v, want %q", err, row.says)
				}
				if strings.Contains(log, "clock") != row.warns {
					t.Errorf("the log has %q", log)
				}
			})
		})
	}
}

func pinOf(t *testing.T, raw []byte) string {
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tlsclient.Pin(c)
}

// ask says hello over TLS, and wants it back.
func ask(ctx context.Context, server *tls.Config, to plan.TLSServer) (log string, err error) {
	here, there := net.Pipe()
	go func() {
		s := tls.Server(tlstest.Buffered(there), server)
		defer s.Close()
		io.Copy(s, s)
	}()
	c, err := tlsclient.Client(ctx, here, to, func(text string) { log += text })
	if err != nil {
		return log, err
	}
	defer c.Close()
	if _, err = io.WriteString(c, "hello"); err == nil {
		_, err = io.ReadFull(c, make([]byte, 5))
	}
	return log, err
}

// TestOldTLS: versions that are broken are not spoken.
func TestOldTLS(t *testing.T) {
	root := tlstest.New(tlstest.Years(2000, 2100))
	old := &tls.Config{Certificates: []tls.Certificate{root.Server(tlstest.Years(2000, 2100), x509.ExtKeyUsageServerAuth, "kms.example")}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	if _, err := ask(t.Context(), old, plan.TLSServer{Host: "kms.example", Protocol: "h2", Trust: plan.TLS{CA: []string{root.PEM()}}}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

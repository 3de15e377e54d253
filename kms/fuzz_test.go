package kms_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// FuzzMessages: what is taken encodes to the very same bytes.
func FuzzMessages(f *testing.F) {
	v := readVectors(f)
	for _, name := range []string{"m1", "m2", "m3", "m4", "m5", "core"} {
		f.Add(v[name])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := kms.ParseHello(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Error("M1 has two encodings")
		}
		if m, err := kms.ParseChallenge(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Error("M2 has two encodings")
		}

		if m, err := kms.ParseRedeem(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Error("M3 has two encodings")
		}
		if m, err := kms.ParseAnswer(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Error("M4 has two encodings")
		}

		if m, err := kms.ParseReport(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Error("M5 has two encodings")
		}
		kms.ParseOffers(secret.Own(b))
		kms.ParseResults(b)
	})
}

// FuzzURL: what is taken is http, one host and one port.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"http://kms.local", "http://[fe80::1%25eth0]:7741/", "http://192.0.2.1:1", "https://x", "http://user@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := kms.ParseURL(s)
		if err != nil {
			return
		}
		if e.Port == 0 || e.Host == "" || strings.ContainsAny(e.Host, "/@?# \r\n") || !strings.HasPrefix(s, "http://") {
			t.Errorf("ParseURL(%q) = %+v", s, e)
		}
		if a, err := netip.ParseAddr(e.Host); strings.Contains(e.Host, ":") && (err != nil || !a.Is6()) {
			t.Errorf("ParseURL(%q) has host %q", s, e.Host)
		}
	})
}

// FuzzResponse: whatever a server answers, the client ends with an error or
// a bounded body, and never asks the TPM.
func FuzzResponse(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	f.Add("HTTP/1.1 503 Busy\r\nRetry-After: 3\r\n\r\n")
	f.Add("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.9/\r\nContent-Length: 0\r\n\r\n")
	f.Fuzz(func(t *testing.T, reply string) {
		c := &kms.Client{Pins: []kms.Pin{{}}, Dial: answering(reply)}
		if _, err := c.Get(context.Background(), "http://192.0.2.1", untouchable{t}, one); err == nil {
			t.Error("Get succeeded without a signature")
		}
	})
}

var one = []kms.Want{{UUID: kms.UUID{1}}}

// answering dials a server that takes a request and says reply.
func answering(reply string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			readRequest(theirs)
			io.WriteString(theirs, reply)
		}()
		return ours, nil
	}
}

// readRequest reads until the client waits.
func readRequest(c net.Conn) {
	b := make([]byte, 8192)
	c.Read(b)
}

// untouchable is a TPM that must not be asked.
type untouchable struct{ t *testing.T }

func (untouchable) EKPublic() []byte { return fill(3, 122) }
func (untouchable) EKCert() []byte   { return nil }
func (untouchable) AKPublic() []byte { return fill(4, 90) }

func (u untouchable) Activate(context.Context, []byte, []byte) (secret.Bytes, error) {
	u.t.Error("the TPM was asked to activate")
	return secret.Bytes{}, io.EOF
}

func (u untouchable) Quote(context.Context, []int, []byte) (kms.Quote, error) {
	u.t.Error("the TPM was asked for a quote")
	return kms.Quote{}, io.EOF
}

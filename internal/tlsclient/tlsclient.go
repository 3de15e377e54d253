// Package tlsclient is TLS to servers that the plan knows, by a machine
// whose clock may be wrong: the init that is built with it links it, and no
// other.
package tlsclient

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"latchkey/internal/plan"
)

// maxChain bounds the certificates that a server shows.
const maxChain = 10

// Client makes TLS of a connection, which it closes if the server is not the
// one that is meant. It warns of what is taken all the same.
func Client(ctx context.Context, conn net.Conn, to plan.TLSServer, warn func(string)) (net.Conn, error) {
	cas, err := Certificates(to.Trust)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	host, _, _ := strings.Cut(to.Host, "%") // a zone means nothing on the other side
	c := tls.Client(conn, &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{to.Protocol},
		InsecureSkipVerify: true, // that is: VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			return judge(s.PeerCertificates, server{host, to.Trust.Pins, cas}, time.Now(), warn)
		},
	})
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return c, nil
}

// Certificates reads those that are trusted.
func Certificates(t plan.TLS) (list []*x509.Certificate, err error) {
	for _, text := range t.CA {
		rest := []byte(text)
		for {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				break
			}
			if b.Type != "CERTIFICATE" {
				return nil, fmt.Errorf("a block of PEM is %.40q, want CERTIFICATE", b.Type)
			}
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, fmt.Errorf("reading a certificate: %w", err)
			}
			list = append(list, c)
		}
	}
	return list, nil
}

// Pin names a server's key, as plan.TLS does.
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
}

// A server is one as it is known.
type server struct {
	host string
	pins []string
	cas  []*x509.Certificate
}

// judge tells whether a server is the one that is meant: its key is pinned, or
// its certificate is for that name and leads to a CA of the plan. The clock
// does not refuse a certificate, for the machine may have no battery and
// cannot open its disk to learn the time; it is said what the clock thinks.
// (docs/decisions/0033)
func judge(chain []*x509.Certificate, s server, now time.Time, warn func(string)) error {
	switch {
	case len(chain) == 0 || len(chain) > maxChain:
		return fmt.Errorf("the server shows %d certificates, want 1 to %d", len(chain), maxChain)
	case slices.Contains(s.pins, Pin(chain[0])):
		return nil
	case len(s.cas) == 0:
		return fmt.Errorf("the key of %s is %s, which the plan does not pin", s.host, Pin(chain[0]))
	}
	o := x509.VerifyOptions{DNSName: s.host, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	for _, c := range s.cas {
		o.Roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	err := verifyAt(chain[0], o, now)
	if !expired(err) {
		return err
	}

	// Certificates that were valid together were so when the last of them
	// began to be.
	for _, c := range slices.Concat(chain, s.cas) {
		switch other := verifyAt(chain[0], o, c.NotBefore); {
		case other == nil:
			warn(fmt.Sprintf("the certificate of %s is outside its time, or this machine's clock is wrong; the server is taken all the same: %v", s.host, err))
			return nil
		case !expired(other):
			err = other // there is more amiss than the time
		}
	}
	return err
}

func expired(err error) bool {
	e, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && e.Reason == x509.Expired
}

func verifyAt(c *x509.Certificate, o x509.VerifyOptions, at time.Time) error {
	o.CurrentTime = at
	_, err := c.Verify(o)
	return err
}

// Package tlstest makes certificates for tests.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// An Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	up   []*x509.Certificate // what leads to the root, less the root
}

// A Time is one that certificates have, from and to.
type Time [2]time.Time

// Years is a Time of whole years.
func Years(from, to int) Time {
	return Time{time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(to, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// New makes a root.
func New(t Time) *Authority {
	a := &Authority{}
	a.cert, a.key = sign(nil, &x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: t[0], NotAfter: t[1]})
	return a
}

// Below makes an authority that this one has signed.
func (a *Authority) Below(t Time) *Authority {
	b := &Authority{}
	b.cert, b.key = sign(a, &x509.Certificate{Subject: pkix.Name{CommonName: "below"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: t[0], NotAfter: t[1]})
	b.up = append([]*x509.Certificate{b.cert}, a.up...)
	return b
}

// PEM is the authority's certificate.
func (a *Authority) PEM() string { return PEM(a.cert) }

// PEM writes a certificate.
func PEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// Server makes a server's certificate, for these names and addresses.
func (a *Authority) Server(t Time, usage x509.ExtKeyUsage, names ...string) tls.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotBefore: t[0], NotAfter: t[1]}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	cert, key := sign(a, c)
	out := tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	for _, up := range a.up {
		out.Certificate = append(out.Certificate, up.Raw)
	}
	return out
}

func sign(by *Authority, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		panic(err)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		panic(err)
	}
	return cert, key
}

package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/front"
)

// A pair is a certificate with its key, in files.
type pair struct {
	cert, key string
	pool      *x509.CertPool
}

func newPair(t testing.TB, name string) *pair {
	t.Helper()
	dir := t.TempDir()
	p := &pair{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool()}
	cert, key := p.make(t, name)
	p.write(t, p.cert, cert)
	p.write(t, p.key, key)
	return p
}

func (p *pair) make(t testing.TB, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IPAddresses: loopbacks, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}

	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}

	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	p.pool.AppendCertsFromPEM(cert)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// write replaces a file as ACME clients do.
func (p *pair) write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func (p *pair) load(t testing.TB) *front.Certificate {
	t.Helper()
	c, err := front.LoadCertificate(p.cert, p.key, discard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A pair that does not fit leaves the one before in use; file by file, the
// next one is taken when it is whole.
func TestCertificateReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, "one")
		c := p.load(t)
		config := c.Config(tls.VersionTLS13)
		want := func(when, name string) {
			t.Helper()
			time.Sleep(2 * time.Second)
			got, err := config.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil || got.Leaf.DNSNames[0] != name {
				t.Errorf("%s: %v %v, want the certificate of %q", when, got.Leaf.DNSNames, err, name)
			}
		}

		want("at first", "one")
		cert, key := p.make(t, "two")
		p.write(t, p.cert, cert)
		want("certificate replaced, key not yet", "one")
		p.write(t, p.key, key)
		want("key replaced", "two")
		p.write(t, p.cert, []byte("no certificate"))
		want("damaged", "two")
		if err := os.Remove(p.cert); err != nil {
			t.Fatal(err)
		}

		want("removed", "two")
		p.write(t, p.cert, cert)
		want("back", "two")
	})
}

func TestWrongCertificate(t *testing.T) {
	a, b := newPair(t, "a"), newPair(t, "b")
	for _, row := range [][2]string{{a.cert, b.key}, {a.key, a.key}, {a.cert + ".none", a.key}} {
		if _, err := front.LoadCertificate(row[0], row[1], discard); err == nil {
			t.Errorf("LoadCertificate(%s, %s) succeeded", row[0], row[1])
		}
	}
}

var loopbacks = []net.IP{net.IPv4(127, 0, 0, 1)}

package certfile_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/internal/certfile"
)

// An authority signs in tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name),
	}
	a := &authority{t: t, key: key}
	a.cert = a.sign(template, template, key.Public())
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *authority) revoke(until time.Time, serials ...int64) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: until}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *authority) write(name string, blocks ...*pem.Block) string {
	a.t.Helper()
	var text []byte
	for _, b := range blocks {
		text = append(text, pem.EncodeToMemory(b)...)
	}
	path := filepath.Join(a.t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func block(c *x509.Certificate) *pem.Block { return &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw} }

func TestAuthorities(t *testing.T) {
	a, b := newAuthority(t, "a"), newAuthority(t, "b")
	all, err := certfile.Authorities(a.write("two.pem", block(a.cert), &pem.Block{Type: "PRIVATE KEY"}, block(b.cert)))
	if err != nil || len(all) != 2 {
		t.Fatalf("Authorities of a file with two = %d, %v", len(all), err)
	}
	if pool := certfile.Pool(all); !pool.Equal(certfile.Pool([]*x509.Certificate{b.cert, a.cert})) {
		t.Error("the pool has others")
	}

	for name, row := range map[string]struct{ path, want string }{
		"no file":           {"/nowhere/ca.pem", "no such file"},
		"no certificate":    {a.write("key.pem", &pem.Block{Type: "PRIVATE KEY"}), "holds no PEM certificate"},
		"one that is wrong": {a.write("bad.pem", block(a.cert), &pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "number 2"},
	} {
		if _, err := certfile.Authorities(row.path); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Authorities = %v, want %q", name, err, row.want)
		}
	}
}

// faults/kms.md L: there was no way to revoke an operator's certificate.
func TestRevoked(t *testing.T) {
	a, b := newAuthority(t, "a"), newAuthority(t, "b")
	now := time.Now()
	mine := []*x509.Certificate{a.cert}
	client := a.sign(&x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: now.Add(time.Hour)}, a.cert, a.key.Public())
	other := a.sign(&x509.Certificate{SerialNumber: big.NewInt(8), NotAfter: now.Add(time.Hour)}, a.cert, a.key.Public())
	list := &pem.Block{Type: "X509 CRL", Bytes: a.revoke(now.Add(time.Hour), 7)}

	for name, path := range map[string]string{"PEM": a.write("crl.pem", list), "DER": raw(t, list.Bytes)} {
		revoked, err := certfile.Revoked(path, mine, now)
		if err != nil || !revoked[certfile.Key(client)] || revoked[certfile.Key(other)] || len(revoked) != 1 {
			t.Errorf("%s: Revoked = %v, %v, want number 7 alone", name, revoked, err)
		}
	}

	for name, row := range map[string]struct{ path, want string }{
		"no file":          {"/nowhere/crl.pem", "no such file"},
		"no list":          {raw(t, []byte("x")), "reading the revocation list"},
		"somebody else's":  {a.write("b.pem", &pem.Block{Type: "X509 CRL", Bytes: b.revoke(now.Add(time.Hour))}), "none of the CA certificates has signed it"},
		"one that is over": {a.write("old.pem", &pem.Block{Type: "X509 CRL", Bytes: a.revoke(now.Add(-time.Minute))}), "it ended on"},
	} {
		if _, err := certfile.Revoked(row.path, mine, now); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Revoked = %v, want %q", name, err, row.want)
		}
	}
}

func raw(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A client's certificate is read at once, and again when it was renewed.
func TestClient(t *testing.T) {
	a := newAuthority(t, "a")
	private, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	ca, key := a.write("ca.pem", block(a.cert)), a.write("key.pem", &pem.Block{Type: "PRIVATE KEY", Bytes: private})
	issue := func(serial int64) *x509.Certificate {
		return a.sign(&x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}, a.cert, a.key.Public())
	}
	cert := a.write("cert.pem", block(issue(1)))

	c, err := certfile.Client(tls.VersionTLS13, ca, cert, key)
	if err != nil || c.MinVersion != tls.VersionTLS13 || c.RootCAs == nil {
		t.Fatalf("Client = %+v, %v", c, err)
	}
	renewed := issue(2)
	if err := os.WriteFile(cert, pem.EncodeToMemory(block(renewed)), 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := c.GetClientCertificate(nil)
	if err != nil || pair.Leaf.SerialNumber.Int64() != 2 {
		t.Errorf("the certificate shown is %v, %v, want the renewed one", pair, err)
	}

	for name, files := range map[string][3]string{"no CA": {"/nowhere", cert, key}, "no key": {ca, cert, "/nowhere"}, "no certificate": {ca, "/nowhere", key}} {
		if _, err := certfile.Client(tls.VersionTLS13, files[0], files[1], files[2]); err == nil || !strings.Contains(err.Error(), "/nowhere") {
			t.Errorf("%s: Client = %v, want an error that names the file", name, err)
		}
	}
	if c, err := certfile.Client(tls.VersionTLS12, "", "", ""); err != nil || c.RootCAs != nil || c.GetClientCertificate != nil {
		t.Errorf("Client without files = %+v, %v, want the system's authorities and no certificate", c, err)
	}
}

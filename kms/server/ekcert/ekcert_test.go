package ekcert_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"latchkey/kms/server/ekcert"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A ca is a CA of the tests.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (by *ca) sign(t testing.TB, template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, public, by.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCA(t testing.TB, name string, by *ca) *ca {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name),
	}
	c := &ca{cert: template, key: newKey(t)}
	if by == nil {
		by = c
	}
	c.cert = by.sign(t, template, c.key.Public())
	return c
}

// leaf is the template of an EK's certificate: no subject, and the make of
// the TPM in a critical subjectAltName, as vendors write it.
func leaf() *x509.Certificate {
	name, err := asn1.Marshal(pkix.Name{CommonName: "id:1014"}.ToRDNSequence())
	if err != nil {
		panic(err)
	}
	san, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}})
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{
		SerialNumber: big.NewInt(42), NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(5, 0, 0),
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
		ExtraExtensions:    []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: san}},
	}
}

// area is a P-256 EK's public area.
func area(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	head, err := hex.DecodeString("0023000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa00060080004300100003" + "0010")
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(head, []byte{0, 32}, point[1:33], []byte{0, 32}, point[33:])
}

func load(t testing.TB, files map[string][]byte) *ekcert.Pool {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := ekcert.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// list is a revocation list of a CA.
func (by *ca) list(t testing.TB, until time.Time, serials ...int64) []byte {
	t.Helper()
	var entries []x509.RevocationListEntry
	for _, n := range serials {
		entries = append(entries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: now.AddDate(0, 0, -2)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.AddDate(0, -2, 0), NextUpdate: until, RevokedCertificateEntries: entries,
	}, by.cert, by.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestVerify(t *testing.T) {
	root := newCA(t, "vendor root", nil)
	issuer := newCA(t, "vendor issuer", root)
	stranger := newCA(t, "vendor issuer", newCA(t, "vendor root", nil)) // the same names
	key, later := newKey(t), now.AddDate(0, 1, 0)
	base := map[string][]byte{"root.der": root.cert.Raw, "issuer.crt": issuer.cert.Raw}
	and := func(name string, b []byte) map[string][]byte {
		return map[string][]byte{"root.der": root.cert.Raw, "issuer.crt": issuer.cert.Raw, name: b}
	}
	for _, row := range []struct {
		name   string
		by     *ca
		files  map[string][]byte
		change func(*x509.Certificate)
		public crypto.PublicKey
		want   error
	}{
		{"a vendor's", issuer, base, nil, key.Public(), nil},
		{"by the root itself", root, base, nil, key.Public(), nil},
		{"without usage", issuer, base, func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }, key.Public(), nil},
		{"for another use", issuer, base, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, key.Public(), ekcert.ErrNotEK},
		{"a CA's", issuer, base, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, key.Public(), ekcert.ErrNotEK},
		{"of another key", issuer, base, nil, newKey(t).Public(), ekcert.ErrOtherKey},
		{"expired", issuer, base, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, -1) }, key.Public(), ekcert.ErrChain},
		{"not valid yet", issuer, base, func(c *x509.Certificate) { c.NotBefore = now.AddDate(0, 0, 1) }, key.Public(), ekcert.ErrChain},
		{"by another CA of the same name", stranger, base, nil, key.Public(), ekcert.ErrChain},
		{"another critical extension", issuer, base, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, key.Public(), ekcert.ErrChain},
		{"others were revoked", issuer, and("list.crl", issuer.list(t, later, 1, 2, 3)), nil, key.Public(), nil},
		{"revoked", issuer, and("list.crl", issuer.list(t, later, 1, 42)), nil, key.Public(), ekcert.ErrRevoked},
		{"its issuer was revoked", issuer, and("list.crl", root.list(t, later, 7)), nil, key.Public(), ekcert.ErrRevoked},
		{"list out of date", issuer, and("list.crl", issuer.list(t, now.AddDate(0, 0, -1))), nil, key.Public(), ekcert.ErrStale},
	} {
		template := leaf()
		if row.change != nil {
			row.change(template)
		}
		der := row.by.sign(t, template, row.public).Raw
		got, err := load(t, row.files).Verify(append(der, 0xff, 0xff), area(t, key), now) // as NV has it
		if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
			t.Errorf("%s: Verify = %v, want %v", row.name, err, row.want)
		}
		if err == nil && (got.Root != "CN=vendor root" || got.Serial != "2a") {
			t.Errorf("%s: Verify = %+v", row.name, got)
		}
	}

	var none *ekcert.Pool
	if _, err := none.Verify(issuer.sign(t, leaf(), key.Public()).Raw, area(t, key), now); !errors.Is(err, ekcert.ErrChain) {
		t.Errorf("without roots: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	root := newCA(t, "root", nil)
	other := newCA(t, "other", nil)
	for _, row := range []struct {
		name  string
		files map[string][]byte
	}{
		{"nothing", nil},
		{"a file that is no certificate", map[string][]byte{"a.pem": []byte("x")}},
		{"a leaf", map[string][]byte{"root.der": root.cert.Raw, "leaf.crt": root.sign(t, leaf(), newKey(t).Public()).Raw}},
		{"a list that nobody signed", map[string][]byte{"root.der": root.cert.Raw, "x.crl": other.list(t, now)}},
		{"a key", map[string][]byte{"key.pem": []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}},
	} {
		dir := t.TempDir()
		for name, b := range row.files {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ekcert.Load(dir); err == nil {
			t.Errorf("%s: Load took it", row.name)
		}
	}

	if _, err := ekcert.Load("/nowhere"); err == nil {
		t.Error("a folder that is not there was loaded")
	}
}

func FuzzVerify(f *testing.F) {
	root, key := newCA(f, "root", nil), newKey(f)
	good, public := root.sign(f, leaf(), key.Public()).Raw, area(f, key)
	pool := load(f, map[string][]byte{"root.der": root.cert.Raw})
	f.Add(good, public)
	f.Add([]byte{0x30, 0x82, 0xff, 0xff}, public)
	f.Add(good, public[:60])
	f.Fuzz(func(t *testing.T, der, area []byte) {
		if _, err := pool.Verify(der, area, now); err == nil && !(len(der) >= len(good) && slices.Equal(der[:len(good)], good)) {
			t.Errorf("Verify took %x", der)
		}
	})
}

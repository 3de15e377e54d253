package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/kms/admin"
)

// An authority signs the certificates of a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	pair := a.issue("authority", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) issue(name string, change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}

	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(template)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}

	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}

	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) client(name string) tls.Certificate {
	return a.issue(name, func(*x509.Certificate) {})
}

// A remoteLab is the administration over HTTPS on loopback.
type remoteLab struct {
	*fixture
	url string
	ca  *authority
}

func newRemote(t testing.TB, options ...option) *remoteLab {
	t.Helper()
	return newRemoteWith(t, func(*remoteLab, *admin.RemoteOptions) {}, options...)
}

// newRemoteWith changes what the administration is served with.
func newRemoteWith(t testing.TB, change func(*remoteLab, *admin.RemoteOptions), options ...option) *remoteLab {
	t.Helper()
	lab := &remoteLab{fixture: newKMS(t, options...), ca: newAuthority(t)}
	o := admin.RemoteOptions{CAs: lab.ca.pool(), Clients: map[string]admin.Grant{"alice": {Scope: admin.ScopeApprove}}}
	change(lab, &o)
	web := lab.Server.Remote(o,
		&tls.Config{Certificates: []tls.Certificate{lab.ca.client("kms")}}, discard)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go web.ServeTLS(l, "", "")
	t.Cleanup(func() { web.Close() })
	lab.url = "https://" + l.Addr().String()
	return lab
}

// do asks, with a token, a client certificate, or neither.
func (l *remoteLab) do(method, target, token string, pair *tls.Certificate) (*http.Response, error) {
	config := &tls.Config{RootCAs: l.ca.pool()}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	r, err := http.NewRequest(method, l.url+target, http.NoBody)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	return (&http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}).Do(r)
}

func (l *remoteLab) status(method, target, token string, pair *tls.Certificate) int {
	l.t.Helper()
	reply, err := l.do(method, target, token, pair)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, target, err)
	}
	reply.Body.Close()
	return reply.StatusCode
}

// postTo posts a body with a token, on a connection that is not kept.
func (l *remoteLab) postTo(target, token, body string) *http.Response {
	l.t.Helper()
	r, err := http.NewRequest("POST", l.url+target, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", token)
	reply, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: l.ca.pool()}, DisableKeepAlives: true}}).Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	return reply
}

// post sends a body with a token.
func (l *remoteLab) post(target, token, body string) int {
	l.t.Helper()
	reply := l.postTo(target, token, body)
	reply.Body.Close()
	return reply.StatusCode
}

// documented is status, and the answer is compared with the document.
func (l *remoteLab) documented(d *document31, method, target, token string) int {
	l.t.Helper()
	reply, err := l.do(method, target, token, nil)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	d.check(method, target, reply.StatusCode, reply.Header.Get("Content-Type"), body)
	return reply.StatusCode
}

func (f *fixture) token(name string, scope admin.Scope) string {
	f.t.Helper()
	out, err := f.CreateToken(ctx, admin.NewToken{Name: name, Scope: scope, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		f.t.Fatal(err)
	}
	return "Bearer " + out.Secret
}

package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair writes a certificate that signs itself, and its key.
func pair(t *testing.T) (certificate, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keys"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// TestAdmin: what is wrong with the administration over HTTPS is found when
// the file is read, with its line, and not when somebody needs it.
func TestAdmin(t *testing.T) {
	certificate, key := pair(t)
	head := "admin:\n  address: :7743\n"
	tlsLine := "  tls: {certificate: " + certificate + ", key: " + key + "}\n"
	ca := "  client-ca: " + certificate + "\n"
	one := "  clients: [{name: anna, scope: read}]\n"
	for _, row := range []struct{ name, text, want string }{
		{"good", head + tlsLine + ca + one, ""},
		{"without client certificates: tokens only", head + tlsLine, ""},
		{"no TLS", head, "kms.yaml:1: admin: the administration goes over TLS only"},
		{"no port", "admin:\n  address: localhost\n" + tlsLine, `kms.yaml:2: admin.address: "localhost" is not host:port`},
		{"an authority for nobody", head + tlsLine + ca, "kms.yaml:4: admin.client-ca: client-ca and clients belong together"},
		{"clients of no authority", head + tlsLine + one, "admin.client-ca: client-ca and clients belong together"},
		{"a list of revoked certificates of nobody", head + tlsLine + "  client-crl: " + certificate + "\n", "kms.yaml:4: admin.client-crl: it is for certificates of a client-ca"},
		{"no file of the authority", head + tlsLine + "  client-ca: /nowhere\n" + one, "kms.yaml:4: admin.client-ca: "},
		{"an authority that is a key", head + tlsLine + "  client-ca: " + key + "\n" + one, "kms.yaml:4: admin.client-ca: "},
		{"no list of revoked certificates", head + tlsLine + ca + "  client-crl: " + key + "\n" + one, "kms.yaml:5: admin.client-crl: "},
		{"a client without a name", head + tlsLine + ca + "  clients: [{scope: read}]\n", "kms.yaml:5: admin.clients[0].name: each client has a name of its own"},
		{"two clients of one name", head + tlsLine + ca + "  clients: [{name: anna, scope: read}, {name: anna, scope: admin}]\n", "kms.yaml:5: admin.clients[1].name: each client has a name of its own"},
		{"no scope", head + tlsLine + ca + "  clients: [{name: anna}]\n", `kms.yaml:5: admin.clients[0].scope: "" must be read, approve or admin`},
		{"no label where there must be one", head + tlsLine + ca + "  clients: [{name: anna, scope: read, labels: []}]\n", "kms.yaml:5: labels is there without a value: it would be for all machines"},
		{"labels without a value", head + tlsLine + ca + "  clients:\n    - name: anna\n      scope: read\n      labels:\n", "kms.yaml:8: labels is there without a value: it would be for all machines"},
		{"a label that is none", head + tlsLine + ca + "  clients: [{name: anna, scope: read, labels: [oslo]}]\n", `kms.yaml:5: admin.clients[0].labels: label "oslo": want key=value`},
		{"the protocol as a label", head + tlsLine + ca + "  clients: [{name: anna, scope: read, labels: [protocol=talos]}]\n", `kms.yaml:5: admin.clients[0].labels: label protocol=talos: the protocol is no label`},
		{"a scope that is none", head + tlsLine + ca + "  clients: [{name: anna, scope: root}]\n", `kms.yaml:5: admin.clients[0].scope: "root" must be read, approve or admin`},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := configured(t, row.text)
			if row.want == "" {
				if err != nil {
					t.Fatalf("Config = %v, want no error", err)
				}
				if want := strings.Count(row.text, "client-ca"); len(c.Admin.CAs) != want {
					t.Errorf("%d authorities were read, want %d", len(c.Admin.CAs), want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("Config = %v, want %s", err, row.want)
			}
		})
	}
}

// One certificate by flag is that of every listener, and the oldest version
// that is spoken is 1.3 unless an old client needs 1.2.
func TestCertificateByFlag(t *testing.T) {
	certificate, key := pair(t)
	text := "listen:\n  - address: :1\n  - address: :2\nadmin: {address: \":3\"}\ntalos: {address: \":4\"}\n"
	c, err := configured(t, text, "--tls-cert="+certificate, "--tls-key="+key)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]*TLS{"listen[0]": c.Listen[0].TLS, "listen[1]": c.Listen[1].TLS, "admin": c.Admin.TLS, "talos": c.Talos.TLS} {
		if got == nil || got.Certificate != certificate || got.Key != key || got.Version() != tls.VersionTLS13 {
			t.Errorf("%s has %+v, want the certificate and TLS 1.3", name, got)
		}
	}
	if old := (&TLS{MinVersion: "1.2"}).Version(); old != tls.VersionTLS12 {
		t.Errorf("Version of 1.2 = %#x", old)
	}
}

// The levels are those of log/slog; none is info.
func TestLogLevel(t *testing.T) {
	for text, want := range map[string]slog.Level{"": slog.LevelInfo, "log: {level: debug}": slog.LevelDebug, "log: {level: error}": slog.LevelError} {
		c, err := configured(t, text)
		if err != nil || c.Log.SlogLevel() != want {
			t.Errorf("%q: level %v, %v, want %v", text, c.Log.SlogLevel(), err, want)
		}
	}
}

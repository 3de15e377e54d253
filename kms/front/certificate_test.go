package front_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/kms/front"
)

// pair writes a certificate of this life, and its key.
func pair(t *testing.T, from, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A server whose certificate has ended, or soon will, says so when it starts:
// its clients only see that they are refused.
func TestCertificateEnds(t *testing.T) {
	const day = 24 * time.Hour
	for _, row := range []struct {
		name        string
		from, until time.Duration // from now
		says        string
	}{
		{"good", -day, 90 * day, ""},
		{"ended", -90 * day, -time.Minute, "has ended"},
		{"ends in a week", -80 * day, 7 * day, "ends soon"},
		{"a short one, half over", -3 * day, 3 * day, ""},
		{"a short one, nearly over", -5 * day, day, "ends soon"},
		{"not yet", day, 90 * day, "not valid yet"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var log bytes.Buffer
			now := time.Now()
			cert, key := pair(t, now.Add(row.from), now.Add(row.until))
			if _, err := front.LoadCertificate(cert, key, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
				t.Fatal(err)
			}
			if got := log.String(); !strings.Contains(got, row.says) || row.says == "" && got != "" {
				t.Errorf("the log is %q, want %q", got, row.says)
			}
		})
	}
}

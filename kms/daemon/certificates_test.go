package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/config"
	"latchkey/kms/server/metrics"
)

// pair writes a certificate of so many days, and its key.
func pair(t *testing.T, dir string, days int) config.Place {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(days)), NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(time.Duration(days) * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	p := config.Place{Cert: filepath.Join(dir, "client.pem"), Key: filepath.Join(dir, "client.key")}
	for file, block := range map[string]*pem.Block{p.Cert: {Type: "CERTIFICATE", Bytes: der}, p.Key: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// A lockedLog is written to by who watches the certificates.
type lockedLog struct {
	mu   sync.Mutex
	text []byte
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

// take returns what was written since it was last called.
func (l *lockedLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.text)
	l.text = nil
	return text
}

// The certificate that is shown to the store is said to end two weeks before,
// once a day, though nobody connects; metrics have its end; one that is
// renewed is read without a restart.
func TestClientCertificateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var log lockedLog
		dir := t.TempDir()
		f := &listeners{pairs: certificates{}}
		f.pairs.client(pair(t, dir, 60), slog.New(slog.NewTextHandler(&log, nil)))
		go f.pairs.look(ctx)

		days := func(n int) string {
			log.take()
			time.Sleep(time.Duration(n) * 24 * time.Hour)
			synctest.Wait()
			return log.take()
		}
		if said := days(45); said != "" {
			t.Errorf("15 days before its end the log says %q, want nothing", said)
		}
		if said := days(5); strings.Count(said, "certificate ends soon") < 3 || strings.Count(said, "certificate ends soon") > 6 {
			t.Errorf("in the 5 days from then on the log says %q, want it once a day", said)
		}
		if said := days(12); !strings.Contains(said, "certificate has ended: the store refuses new connections with it, and nothing is released then") {
			t.Errorf("after its end the log says %q", said)
		}

		renewed := pair(t, dir, 365)
		if said := days(1); !strings.Contains(said, "certificate reloaded") || strings.Contains(said, "ended") {
			t.Errorf("once it was renewed the log says %q", said)
		}
		text := httptest.NewRecorder()
		metrics.Handler(f.expiries(0)).ServeHTTP(text, httptest.NewRequest("GET", "/metrics", nil))
		end := time.Now().Add(364 * 24 * time.Hour).Unix()
		if want := fmt.Sprintf("latchkey_certificate_expiry_timestamp_seconds{file=%q} ", renewed.Cert); !strings.Contains(text.Body.String(), want) {
			t.Errorf("metrics lack %s (about %d):\n%s", want, end, text.Body.String())
		}
	})
}

// A store without a certificate of ours has none to watch.
func TestNoClientCertificate(t *testing.T) {
	all := certificates{}
	all.client(config.Place{}, slog.New(slog.DiscardHandler))
	if len(all) != 0 {
		t.Errorf("%d certificates are watched, want none", len(all))
	}
}

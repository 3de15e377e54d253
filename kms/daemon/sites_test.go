package daemon

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/server"
	"latchkey/kms/server/site"
)

// TestSitesInAStorm: after a power cut all machines of a site ask at once, by
// one address. None of the connections that its server then has is closed to
// make room: it would take that for a cut.
func TestSitesInAStorm(t *testing.T) {
	dir := t.TempDir()
	h := home.Home{Location: config.Location{Data: dir, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(dir, "kms.db")}}}
	if _, err := h.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s, err := h.Open(t.Context(), server.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f := &listeners{failed: make(chan error, 1)}
	if err := f.listenSites(&config.SitesSection{Address: "127.0.0.1:0"}, s, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer f.close()
	f.serve()

	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	like := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, like, like, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	own := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range site.MaxConnections {
		c, err := tls.Dial("tcp", f.all[0].addr.String(), own)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for range 2 {
		for i, c := range conns {
			if status := gone(c); status != http.StatusGone {
				t.Fatalf("connection %d of %d: status %d, want 410 as for who is no site", i, len(conns), status)
			}
		}
	}
}

// gone asks on a connection; 0 is no answer.
func gone(c net.Conn) int {
	r, err := http.NewRequest(http.MethodPost, "https://center/lk1/challenge", strings.NewReader(""))
	if err != nil || r.Write(c) != nil {
		return 0
	}
	reply, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		return 0
	}
	reply.Body.Close()
	return reply.StatusCode
}

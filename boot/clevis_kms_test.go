package boot_test

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/elliptic"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/kms/server/tang"
	"latchkey/unlock/source/clevis/clevistest"
)

// oneKey is a keeper of one exchange key, that was revoked or not.
type oneKey struct {
	tang.Private
	revoked bool
}

func (k *oneKey) Admit(tang.Ask) error { return nil }

func (k *oneKey) Advertise(context.Context, tang.Ask, string) ([]byte, error) {
	return nil, &tang.Refusal{Reason: tang.NoKey} // an init never asks
}

func (k *oneKey) Recover(_ context.Context, a tang.Ask, thumbprint string, point tang.Key) (tang.Key, error) {
	switch {
	case a.Client != "web-7" || !k.Named(thumbprint):
		return tang.Key{}, &tang.Refusal{Reason: tang.NoKey}
	case k.revoked:
		return tang.Key{}, &tang.Refusal{Reason: tang.Revoked}
	}
	return tang.Exchange(k.Private, point)
}

// serve answers one request on a connection, as the key server does.
func (k *oneKey) serve(conn net.Conn) {
	defer conn.Close()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	w := httptest.NewRecorder()
	tang.NewHandler(k, func(string, string, time.Time) {}, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	w.Result().Write(conn)
}

// TestClevisAtTheKMS: a token that clevis bound to keys of this machine alone
// at the key server, which speaks tang: it opens the root, until it is
// revoked.
func TestClevisAtTheKMS(t *testing.T) {
	_, exchange, err := tang.Generate("P-384")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdh.P384().NewPrivateKey(exchange.D.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	to := clevistest.Recipient{Curve: elliptic.P384(), Key: key.PublicKey(), Thumbprint: exchange.Thumbprint()}
	at := func(revoked bool) func(m *boottest.Machine) {
		return func(m *boottest.Machine) {
			m.Disks[0].AddToken(clevistest.Token(clevistest.SealFor(to, "http://192.0.2.7/for/web-7", []byte(boottest.Recovery)), 1))
			m.TalosKMS = map[string]func(net.Conn){"192.0.2.7:80": (&oneKey{exchange, revoked}).serve}
			m.Plan.Trust.KMS, m.Plan.Clevis.Tang, m.Plan.Clevis.Wait = nil, []string{to.Thumbprint}, time.Minute
		}
	}
	for _, r := range []row{
		{"its own key", []string{"clevis"}, at(false), "root", time.Second, []string{"unlock root keyslot=1"}, nil},
		{"revoked", []string{"clevis"}, at(true), "reboot", 3 * time.Minute, []string{"clevis-no-key: volume root, token 0: tang server http://192.0.2.7:80", "(HTTP status 404)"}, nil},
	} {
		r.boot(t)
	}
}

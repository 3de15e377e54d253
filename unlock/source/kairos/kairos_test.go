package kairos_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	server "latchkey/kms/server/kairos"
	"latchkey/unlock/source/kairos"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// A keeper is the key server's side: our own handlers ask it.
type keeper struct {
	mu      sync.Mutex
	answer  server.Answer
	err     error
	proofs  []server.Proof
	deposit []byte
}

func (k *keeper) Work(_ context.Context, f func() error) error { return f() }

func (k *keeper) Release(_ context.Context, p *server.Proof) (*server.Answer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.proofs = append(k.proofs, *p)
	if k.deposit != nil && p.Quote == nil {
		return &server.Answer{Passphrase: secret.Own(bytes.Clone(k.deposit)), Sealed: true}, nil
	}
	return &server.Answer{Passphrase: k.answer.Passphrase.Clone(), Sealed: k.answer.Sealed}, k.err
}

func (k *keeper) Deposit(_ context.Context, p *server.Proof, sealed []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.proofs, k.deposit = append(k.proofs, *p), []byte(encode(sealed))
	return nil
}

// machine is a TPM.
type machine struct {
	*tpm.Kairos
	dev *tpm.TPM
}

func newMachine(t *testing.T) machine {
	t.Helper()
	dev, err := tpm.Open(tpmtest.Start(t).Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	k, err := dev.Kairos(t.Context(), tpm.KairosKey)
	if err != nil {
		t.Fatal(err)
	}
	return machine{k, dev}
}

// start serves the paths that the server is to know.
func start(t *testing.T, k *keeper, paths ...string) kairos.Server {
	t.Helper()
	h := server.Handler(k, slog.New(slog.DiscardHandler))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, p := range paths {
			if r.URL.Path == p {
				h.ServeHTTP(w, r)
				return
			}
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := kairos.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return kairos.Server{URL: u, Connect: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}}
}

var want = kairos.Request{Label: "COS_PERSISTENT", Name: "vda5", UUID: "0b0ab6a5-64a5-5f4e-a7b1-5fbd4c0b4c1e"}

// A TPM's keys, activation and quote are taken by our own key server, again
// and again with one attestation key, and the names arrive.
func TestAttest(t *testing.T) {
	m := newMachine(t)
	k := &keeper{answer: server.Answer{Passphrase: secret.Own([]byte("the passphrase"))}}
	c := kairos.Client{Server: start(t, k, server.AttestationPath), TPM: m, Live: true}
	for range 2 {
		p, err := c.Ask(t.Context(), want)
		if err != nil || string(p.Reveal()) != "the passphrase" {
			t.Fatalf("Ask = %q, %v, want the passphrase", p.Reveal(), err)
		}
	}
	first, second := k.proofs[0], k.proofs[1]
	hash, err := m.dev.Hash(t.Context())
	if err != nil || first.Hash.String() != hash || first.Request != server.Request(want) || !first.Defer {
		t.Errorf("the server saw %+v, %v, want TPMHash %s, %+v and a live system", first, err, hash, want)
	}
	if first.AK != second.AK || second.Quote.Clock <= first.Quote.Clock {
		t.Errorf("attestation keys %x, %x and clocks %d, %d, want the key again with a later clock", first.AK, second.AK, first.Quote.Clock, second.Quote.Clock)
	}
}

// What the server refuses for good ends it; what may pass is asked again.
func TestRefusals(t *testing.T) {
	m := newMachine(t)
	for _, row := range []struct {
		name         string
		reason       server.Reason
		code, text   string
		legacy       string // code of the older exchange
		onlyAttested bool
	}{
		{"waiting", server.Pending, kairos.CodeWaiting, "waits for approval", kairos.CodeWaiting, false},
		{"no volume", server.NoVolume, kairos.CodeWaiting, "closed the connection", kairos.CodeWaiting, false},
		{"quarantined", server.Quarantined, kairos.CodeRefused, "TPM is quarantined", kairos.CodeRefused, false},
		{"another boot state", server.PCRMismatch, kairos.CodeRefused, "PCR verification failed", kairos.CodeRefused, false},
		{"legacy has none", server.NoSecret, kairos.CodeWaiting, "", kairos.CodeWaiting, false},
	} {
		k := &keeper{err: &server.Refusal{Reason: row.reason}}
		c := kairos.Client{Server: start(t, k, server.AttestationPath), TPM: m}
		if _, err := c.Ask(t.Context(), want); codes.Of(err) != row.code || !strings.Contains(err.Error(), row.text) {
			t.Errorf("%s: Ask = %v, want code %s and %q", row.name, err, row.code, row.text)
		}
		old := kairos.Client{Server: start(t, k, server.GetPath), TPM: m, Legacy: true}
		if _, err := old.Ask(t.Context(), want); codes.Of(err) != row.legacy {
			t.Errorf("%s: Ask of the older generation = %v, want code %s", row.name, err, row.legacy)
		}
	}
}

// The older generation is asked only where that is allowed, and with a new
// attestation key each time. What the machine's TPM encrypted is decrypted by
// it, and never given out as it is; nothing is made unless somebody is about
// to encrypt a disk.
func TestGenerations(t *testing.T) {
	m := newMachine(t)
	k := &keeper{err: &server.Refusal{Reason: server.NoSecret}}
	old := start(t, k, server.GetPath, server.PostPath)
	c := kairos.Client{Server: old, TPM: m}
	if _, err := c.Ask(t.Context(), want); codes.Of(err) != kairos.CodeSilent || len(k.proofs) != 0 {
		t.Errorf("Ask = %v after %d exchanges, want code %s after none", err, len(k.proofs), kairos.CodeSilent)
	}
	c.Legacy = true
	if _, err := c.Ask(t.Context(), want); codes.Of(err) != kairos.CodeWaiting || k.deposit != nil {
		t.Errorf("Ask = %v, with a deposit of %d bytes, want code %s and none", err, len(k.deposit), kairos.CodeWaiting)
	}
	c.Generate = kairos.Generator(m.Encrypt)
	made, err := c.Ask(t.Context(), want)
	if err != nil || made.Len() != 43 || k.deposit == nil {
		t.Fatalf("Ask = %d bytes, %v, want a passphrase of 43 letters and a deposit", made.Len(), err)
	}
	c.Generate = nil
	if again, err := c.Ask(t.Context(), want); err != nil || !again.Equal(made) {
		t.Errorf("Ask = %v, %v, want the passphrase again", again, err)
	}
	seen := map[[32]byte]bool{}
	for _, p := range k.proofs {
		seen[p.AK] = true
	}
	if len(seen) != len(k.proofs) {
		t.Errorf("%d attestation keys in %d exchanges of the older generation, want one each", len(seen), len(k.proofs))
	}

	// The server was upgraded: it says where the passphrase is to be had.
	both := start(t, k, server.AttestationPath, server.GetPath)
	k.err = &server.Refusal{Reason: server.TPMSealed}
	c.Server = both
	if p, err := c.Ask(t.Context(), want); err != nil || !p.Equal(made) {
		t.Errorf("Ask after the upgrade = %v, %v, want the passphrase", p, err)
	}
	c.Legacy = false
	if _, err := c.Ask(t.Context(), want); codes.Of(err) != kairos.CodeRefused || !strings.Contains(err.Error(), "older exchange") {
		t.Errorf("Ask = %v, want code %s and the older exchange named", err, kairos.CodeRefused)
	}
}

// Names that cannot be a header's are not sent.
func TestNames(t *testing.T) {
	c := kairos.Client{}
	for _, r := range []kairos.Request{{Label: "a\r\nHost: b"}, {Name: "vda\n"}, {UUID: strings.Repeat("x", 129)}, {Label: "daten-ä"}} {
		if _, err := c.Ask(t.Context(), r); codes.Of(err) != kairos.CodeRefused {
			t.Errorf("Ask(%q) = %v, want code %s", r, err, kairos.CodeRefused)
		}
	}
}

package wrapping_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/wrapping"
)

// A bao is a transit engine that answers as the API's documentation says
// (POST /v1/transit/encrypt/NAME and decrypt/NAME, auth/approle/login), with
// one key that is the identity behind a mask.
type bao struct {
	*httptest.Server
	ca, token string // files
	sealed    bool
	tooOld    bool
	asked     []string
}

func newBao(t *testing.T) *bao {
	t.Helper()
	b := &bao{}
	b.Server = httptest.NewTLSServer(b)
	t.Cleanup(b.Close)
	b.ca = kept(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw}))
	b.token = kept(t, []byte("hvs.good\n"))
	return b
}

func (b *bao) transit() wrapping.Transit {
	return wrapping.Transit{Address: b.URL, Mount: "transit", Key: "latchkey", Namespace: "ops", CA: b.ca, TokenFile: b.token}
}

func (b *bao) fail(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string][]string{"errors": {text}})
}

func (b *bao) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in map[string]string
	json.NewDecoder(r.Body).Decode(&in)
	b.asked = append(b.asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Vault-Namespace"))
	give := func(kind string, v any) { json.NewEncoder(w).Encode(map[string]any{kind: v}) }
	mask := func(c []byte) []byte {
		for i := range c {
			c[i] ^= 0x5a
		}
		return c
	}

	switch path := r.URL.Path; {
	case b.sealed:
		b.fail(w, 503, "Vault is sealed")
	case path == "/v1/auth/approle/login" && in["role_id"] == "kms" && in["secret_id"] == "proof",
		path == "/v1/auth/kubernetes/login" && in["role"] == "kms" && in["jwt"] == "proof":
		give("auth", map[string]string{"client_token": "hvs.good"})
	case strings.HasPrefix(path, "/v1/auth/"):
		b.fail(w, 400, "invalid role or secret ID")
	case r.Header.Get("X-Vault-Token") != "hvs.good" || r.Header.Get("X-Vault-Request") != "true":
		b.fail(w, 403, "permission denied")
	case path == "/v1/transit/encrypt/latchkey":
		plain, _ := base64.StdEncoding.DecodeString(in["plaintext"])
		give("data", map[string]any{"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(mask(plain)), "key_version": 1})
	case path == "/v1/transit/decrypt/latchkey" && b.tooOld:
		b.fail(w, 400, "ciphertext or signature version is disallowed by policy (too old)")
	case path == "/v1/transit/decrypt/latchkey":
		sealed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(in["ciphertext"], "vault:v1:"))
		give("data", map[string]string{"plaintext": base64.StdEncoding.EncodeToString(mask(sealed))})
	case strings.HasPrefix(path, "/v1/transit/"):
		b.fail(w, 400, "encryption key not found")
	default:
		b.fail(w, 404, "no handler for route")
	}
}

// A key goes out and comes back, whichever way we log in, and each request
// names the namespace.
func TestTransit(t *testing.T) {
	b := newBao(t)
	proof := kept(t, []byte("proof\n"))
	for name, login := range map[string]*wrapping.TransitLogin{
		"a token":    nil,
		"AppRole":    {Path: "auth/approle/login", Name: "role_id", NameOf: "kms", Secret: "secret_id", FileOf: proof},
		"Kubernetes": {Path: "auth/kubernetes/login", Name: "role", NameOf: "kms", Secret: "jwt", FileOf: proof},
	} {
		d, key := b.transit(), secret.Random(wrapping.KeySize)
		if d.Login = login; login != nil {
			d.TokenFile = ""
		}
		material, err := d.Wrap(t.Context(), key)
		if err != nil {
			t.Fatalf("%s: Wrap: %v", name, err)
		}
		back, err := d.Unwrap(t.Context(), kept(t, material))
		if err != nil || !back.Equal(key) {
			t.Errorf("%s: Unwrap = %v, %v, want the key", name, back, err)
		}
	}
	for _, line := range b.asked {
		if !strings.HasPrefix(line, "POST /v1/") || !strings.HasSuffix(line, " ops") {
			t.Errorf("it was asked %q", line)
		}
	}
}

// What keeps a key away is said with what to do, and may pass: a second try
// reads the token's file again.
func TestTransitAway(t *testing.T) {
	b := newBao(t)
	material, err := b.transit().Wrap(t.Context(), secret.Random(wrapping.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	path := kept(t, material)
	for _, row := range []struct {
		name, want string
		change     func(*wrapping.Transit) (back func())
	}{
		{"sealed", "503 Service Unavailable: Vault is sealed: it is sealed or starting; unseal it", func(*wrapping.Transit) func() { b.sealed = true; return func() { b.sealed = false } }},
		{"an old token", "403 Forbidden: permission denied: the token has ended, or its policy lacks update on this path", func(*wrapping.Transit) func() {
			os.WriteFile(b.token, []byte("hvs.old"), 0o600)
			return func() { os.WriteFile(b.token, []byte("hvs.good"), 0o600) }
		}},
		{"no token yet", "no such file", func(*wrapping.Transit) func() {
			os.Rename(b.token, b.token+".away")
			return func() { os.Rename(b.token+".away", b.token) }
		}},
		{"a token of two words", "is not one word", func(*wrapping.Transit) func() {
			os.WriteFile(b.token, []byte("hvs.good\r\nX-Other: 1"), 0o600)
			return func() { os.WriteFile(b.token, []byte("hvs.good"), 0o600) }
		}},
		{"rotated away", "too old): lower min_decryption_version of the key", func(*wrapping.Transit) func() { b.tooOld = true; return func() { b.tooOld = false } }},
		{"another key", "encryption key not found: make it", func(d *wrapping.Transit) func() { d.Key = "other"; return func() {} }},
		{"another mount", "404 Not Found: no handler for route: there is no such mount", func(d *wrapping.Transit) func() { d.Mount = "none"; return func() {} }},
		{"a role that is denied", "logging in: https://", func(d *wrapping.Transit) func() {
			d.TokenFile, d.Login = "", &wrapping.TransitLogin{Path: "auth/approle/login", Name: "role_id", NameOf: "x", Secret: "secret_id", FileOf: b.token}
			return func() {}
		}},
		{"nobody there", "connection refused", func(d *wrapping.Transit) func() { d.Address = "https://127.0.0.1:1"; return func() {} }},
	} {
		d := b.transit()
		back := row.change(&d)
		_, err := d.Unwrap(t.Context(), path)
		if !errors.Is(err, wrapping.ErrAway) || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: Unwrap = %v, want %s", row.name, err, row.want)
		}
		back()
		if _, err := b.transit().Unwrap(t.Context(), path); err != nil {
			t.Errorf("after %s: %v", row.name, err)
		}
	}
}

// Who is not the server of our CA, sends elsewhere or talks nonsense gets
// and gives no key.
func TestTransitTrustsNobodyElse(t *testing.T) {
	b := newBao(t)
	key := secret.Random(wrapping.KeySize)
	d := b.transit()
	d.CA = ""
	if _, err := d.Wrap(t.Context(), key); err == nil || len(b.asked) > 0 {
		t.Errorf("Wrap to a stranger = %v, who was asked %q", err, b.asked)
	}
	for name, row := range map[string]struct {
		want string
		do   func(http.ResponseWriter, *http.Request)
	}{
		"a redirect": {"307 Temporary Redirect: it sends to https://", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, b.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}},
		"a page": {"it is no answer of OpenBao or Vault", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }},
		"a torrent": {"it is no answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"x":"` + strings.Repeat("a", 1<<20) + `"}`))
		}},
		"no data": {"answered no ciphertext", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"data":{}}`)) }},
	} {
		other := httptest.NewTLSServer(http.HandlerFunc(row.do)) // with the same certificate
		d := b.transit()
		d.Address = other.URL
		if got, err := d.Wrap(context.Background(), key); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Wrap = %q, %v, want %s", name, got, err, row.want)
		}
		other.Close()
	}
	if len(b.asked) > 0 {
		t.Errorf("a redirect was followed: %q", b.asked)
	}

	short := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"data":{"plaintext":"AAAA"}}`)) }))
	defer short.Close()
	d = b.transit()
	d.Address = short.URL
	if _, err := d.Unwrap(t.Context(), kept(t, []byte("vault:v1:x"))); err == nil || errors.Is(err, wrapping.ErrAway) || !strings.Contains(err.Error(), "has not 32 bytes") {
		t.Errorf("Unwrap of 3 bytes = %v", err)
	}
}

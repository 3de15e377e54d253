package server_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"

	"latchkey/kms/server"
	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
)

func speaksTang(f *fixture) { f.protocols = []server.Protocol{server.LK1, server.Tang} }

// A tangLab is a KMS that speaks tang, and what clevis does with it.
type tangLab struct{ *fixture }

func newTang(t testing.TB, o tangkeeper.Options, options ...option) *tangLab {
	t.Helper()
	l := &tangLab{newKMS(t, append(options, speaksTang)...)}
	if o.PerMinute == 0 {
		o.PerMinute = 1000
	}
	l.Tang.SetOptions(o)
	return l
}

func (l *tangLab) send(method, path string, body []byte, from string) (int, []byte) {
	l.t.Helper()
	r, err := http.NewRequest(method, l.url+path, bytes.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	if from != "" {
		r.Header.Set("X-Forwarded-For", from)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return reply.StatusCode, text
}

// advertised fetches an advertisement, as clevis does, and verifies all
// signatures by the keys in it: those that sign, and those for the exchange.
func (l *tangLab) advertised(path string) (sign, exchange []tang.Key) {
	l.t.Helper()
	status, text := l.send("GET", path, nil, "")
	if status != 200 {
		l.t.Fatalf("GET %s: status %d", path, status)
	}
	type signature struct{ Protected, Signature string }
	var jws struct {
		Payload string
		signature
		Signatures []signature
	}
	if err := json.Unmarshal(text, &jws); err != nil {
		l.t.Fatal(err)
	}
	if jws.Signatures == nil {
		jws.Signatures = []signature{jws.signature}
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err != nil {
		l.t.Fatal(err)
	}
	var set struct{ Keys []tang.Key }
	if err := json.Unmarshal(payload, &set); err != nil || bytes.Contains(payload, []byte(`"d"`)) {
		l.t.Fatalf("%s: %v, or it has private parts", payload, err)
	}
	for _, k := range set.Keys {
		if k.Alg == "ECMR" {
			exchange = append(exchange, k)
			continue
		}
		sign = append(sign, k)
		if !slices.ContainsFunc(jws.Signatures, func(s signature) bool { return verified(l.t, k, s.Protected, jws.Payload, s.Signature) }) {
			l.t.Errorf("%s is not signed by its key %s", path, k.Thumbprint())
		}
	}
	return sign, exchange
}

func verified(t testing.TB, k tang.Key, protected, payload, sig string) bool {
	head, err := base64.RawURLEncoding.DecodeString(protected)
	if err != nil || string(head) != `{"alg":"ES512","cty":"jwk-set+json"}` {
		t.Errorf("the protected header is %q", head)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P521(), pointOf(t, k))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || len(raw) != 132 {
		t.Fatalf("a signature of %d bytes, %v", len(raw), err)
	}
	sum := sha512.Sum512([]byte(protected + "." + payload))
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(raw[:66]), new(big.Int).SetBytes(raw[66:]))
}

func pointOf(t testing.TB, k tang.Key) []byte {
	t.Helper()
	raw := []byte{4}
	for _, text := range []string{k.X, k.Y} {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, b...)
	}
	return raw
}

// request is a point to send, and what the product must be for the server's
// key: the point times the server's secret is the server's point times ours.
func request(t testing.TB, k tang.Key) (body []byte, want string) {
	t.Helper()
	curve := map[string]ecdh.Curve{"P-256": ecdh.P256(), "P-384": ecdh.P384(), "P-521": ecdh.P521()}[k.Crv]
	ours, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := curve.NewPublicKey(pointOf(t, k))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := ours.ECDH(theirs)
	if err != nil {
		t.Fatal(err)
	}
	raw := ours.PublicKey().Bytes()[1:]
	body, err = json.Marshal(tang.Key{Alg: "ECMR", Crv: k.Crv, KeyOps: []string{"deriveKey"}, Kty: "EC", X: b64(raw[:len(raw)/2]), Y: b64(raw[len(raw)/2:])})
	if err != nil {
		t.Fatal(err)
	}
	return body, b64(shared)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// recovers has a point multiplied at a path by a key, from an address: the
// status, after the product was compared.
func (l *tangLab) recovers(path string, k tang.Key, from string) int {
	l.t.Helper()
	body, want := request(l.t, k)
	status, text := l.send("POST", path+k.Thumbprint(), body, from)
	if status != 200 {
		return status
	}
	var got tang.Key
	if err := json.Unmarshal(text, &got); err != nil || got.X != want || got.Alg != "ECMR" || got.Kty != "EC" || got.Crv != k.Crv {
		l.t.Errorf("the product is %s, %v, want x %s", text, err, want)
	}
	return status
}

func (l *tangLab) want(what string, got, want int) {
	l.t.Helper()
	if got != want {
		l.t.Errorf("%s: status %d, want %d", what, got, want)
	}
}

// logged are the events of tang in the audit log, by name, status and reason.
func (l *tangLab) logged() (all []string) {
	l.t.Helper()
	for _, e := range l.log() {
		if strings.HasPrefix(e.Event, "tang ") {
			all = append(all, strings.TrimSpace(strings.TrimPrefix(e.Event, "tang ")+" "+e.Node+" "+e.Status+" "+e.Reason))
		}
	}
	return all
}

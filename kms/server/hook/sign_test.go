package hook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"latchkey/kms/server/hook"
)

// Two keys of Standard Webhooks' own example, and one of Ed25519.
const (
	firstKey  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secondKey = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

var edKey = ed25519.NewKeyFromSeed([]byte("a seed of exactly 32 bytes, yes."))

func signer(t *testing.T, lines ...string) *hook.Signer {
	t.Helper()
	s, err := hook.ReadSigner([]byte(strings.Join(lines, "\n") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The value that the specification's own text gives for its first key.
func TestSignKnownValue(t *testing.T) {
	at, body := time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)
	if got, want := signer(t, firstKey).Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

// Standard Webhooks' own library takes what it is told, by each of two keys;
// Ed25519's signature is over the same text. A second attempt has the same id.
func TestStandardWebhooks(t *testing.T) {
	type told struct {
		header http.Header
		body   []byte
	}
	got, tries := make(chan told, 8), 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- told{r.Header, body}
		if tries++; tries == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer web.Close()
	target, err := hook.NewWeb(web.URL, signer(t, firstKey, secondKey, "whsk_"+base64.StdEncoding.EncodeToString(edKey)))
	if err != nil {
		t.Fatal(err)
	}
	set, _ := start(t, target, "pending")
	set.Tell(pending)
	first, second := wait(t, got), wait(t, got)
	if a, b := first.header.Get("webhook-id"), second.header.Get("webhook-id"); a == "" || a != b {
		t.Errorf("a message has the id %q, and %q when it is told again", a, b)
	}

	for _, key := range []string{firstKey, secondKey} {
		verifier, err := standardwebhooks.NewWebhook(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(second.body, second.header); err != nil {
			t.Errorf("Verify by %s = %v", key, err)
		}
		if err := verifier.Verify(append(second.body, ' '), second.header); err == nil {
			t.Errorf("a changed body was verified by %s", key)
		}
	}
	_, last, _ := strings.Cut(second.header.Get("webhook-signature"), "v1a,")
	signature, err := base64.StdEncoding.DecodeString(last)
	content := second.header.Get("webhook-id") + "." + second.header.Get("webhook-timestamp") + "." + string(second.body)
	if err != nil || !ed25519.Verify(edKey.Public().(ed25519.PublicKey), []byte(content), signature) {
		t.Errorf("the signature %q of Ed25519 does not hold: %v", last, err)
	}

	var payload struct {
		Type string
		Time time.Time `json:"timestamp"`
		Data hook.Notice
	}
	if err := json.Unmarshal(second.body, &payload); err != nil || payload.Type != "get" || payload.Data != pending {
		t.Errorf("the body is %s (%v)", second.body, err)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", "there are 0 keys"},
		{"a word", "0123456789abcdef0123456789abcdef", "key 1: write whsec_"},
		{"short", "whsec_" + b64(23), "key 1: write whsec_"},
		{"long", "whsec_" + b64(65), "key 1: write whsec_"},
		{"no base64", "whsec_*", "key 1: write whsec_"},
		{"a public key", "whpk_" + b64(32), "key 1: write whsec_"},
		{"both prefixes", "whsec_whsk_" + b64(32), "key 1: write whsec_"},
		{"Ed25519 of 33 bytes", "whsk_" + b64(33), "key 1: write whsec_"},
		{"Ed25519 with another's public half", "whsk_" + b64(64), "key 1: the public half"},
		{"the second", firstKey + "\nx", "key 2: write whsec_"},
		{"five", strings.Repeat(firstKey+"\n", 5), "there are 5 keys, not 1 to 4"},
	} {
		if _, err := hook.ReadSigner([]byte(row.text)); err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%s: ReadSigner = %v, want %s", row.name, err, row.want)
		}
	}
}

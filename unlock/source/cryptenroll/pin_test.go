package cryptenroll

import (
	"encoding/hex"
	"encoding/json"
	"testing"

	"latchkey/internal/secret"
)

// TestAuthValue: what systemd 252, and 253 and later, make of a PIN. The wanted
// bytes were computed with Python's hashlib; TestCryptenroll has the real ones.
func TestAuthValue(t *testing.T) {
	salt := make([]byte, 32)
	for i := range salt {
		salt[i] = byte(i)
	}
	for _, row := range []struct {
		name   string
		change map[string]any
		want   string
	}{
		{"without salt", map[string]any{"tpm2-pin": true}, "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4"},
		{"salted", map[string]any{"tpm2-pin": true, "tpm2_salt": b64(salt)}, "707057c835474da74bcd75b848540fe2bbbf46d9d30a96b148814aecadeddedd"},
	} {
		token, err := parseToken(with(t, row.change))
		if err != nil {
			t.Fatal(err)
		}
		got, err := token.authValue(secret.Own([]byte("1234")))
		if err != nil || hex.EncodeToString(got.Reveal()) != row.want {
			t.Errorf("%s: authValue = %x, %v, want %s", row.name, got.Reveal(), err, row.want)
		}
	}
}

// TestPINTokens: what is said of tokens with a PIN, and nothing seals them anew
// without one.
func TestPINTokens(t *testing.T) {
	pin := with(t, map[string]any{"tpm2-pin": true})
	if b := Describe(pin); b.What != "PCRs [7 14] (sha256) as they were, and a PIN (pin: true)" || b.Sealed == "" {
		t.Errorf("Describe = %+v", b)
	}
	if err := Check(pin, nil, true, false); err == nil {
		t.Error("Check takes a PIN that nobody is asked for")
	}
	if err := Check(pin, nil, true, true); err != nil {
		t.Errorf("Check = %v", err)
	}
	if _, err := Read(pin); err == nil {
		t.Error("Read takes a token with a PIN, which would be sealed anew without it")
	}
	if _, err := Read(json.RawMessage(made257)); err != nil {
		t.Errorf("Read = %v", err)
	}
}

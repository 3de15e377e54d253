package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/talos"
)

// TestTokensOfNoKeyslot: inspect offers nothing for the plan of a token that
// opens no keyslot, and says so.
func TestTokensOfNoKeyslot(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "v"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 4 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	key := luks2.NewKey{Passphrase: secret.Own([]byte(strings.Repeat("k", 32))), Random: true}
	h, _, err := luks2.Format(f, luks2.NewVolume{SizeBytes: size, OffsetBytes: 2 << 20}, key)
	if err != nil {
		t.Fatal(err)
	}

	sealed := json.RawMessage(`{"UserData":{"sealedData":"AAAA"}}`)
	if r := reportToken(h, luks2.Token{ID: 0, Type: talos.TokenKMS, JSON: sealed}); r.Talos == nil || r.Talos.Sealed == "" {
		t.Errorf("a token of keyslot 0: %+v", r.Talos)
	}
	if r := reportToken(h, luks2.Token{ID: 5, Type: talos.TokenKMS, JSON: sealed}); r.Talos == nil || r.Talos.Sealed != "" || r.Talos.What != "cannot be used: it is for the keyslot of its own number, 5, which is not there" {
		t.Errorf("a token of keyslot 5: %+v", r.Talos)
	}
	if r := reportToken(h, luks2.Token{ID: 1, Type: cryptenroll.TokenType, JSON: json.RawMessage(`{}`)}); r.TPM2 == nil || r.TPM2.What != "cannot be used: it is for no keyslot" {
		t.Errorf("a token of systemd without a keyslot: %+v", r.TPM2)
	}
}

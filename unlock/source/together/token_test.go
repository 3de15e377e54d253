package together

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

var salt = func() (s []byte) {
	for i := range 32 {
		s = append(s, byte(i))
	}
	return s
}()

const uuid = "5a0f5bd1-0f3f-4a77-9d3a-9c3b3a3e1c11"

func bytesOf(s string) secret.Bytes { return secret.Own([]byte(s)) }

// TestPassphrase: the derivation is what decision 0040 says. The wanted bytes
// were computed with Python's hmac and hashlib.
func TestPassphrase(t *testing.T) {
	good := func() (Token, string, map[string]secret.Bytes) {
		return Token{Members: []string{KMS, TPM}, Salt: salt}, uuid, map[string]secret.Bytes{KMS: bytesOf("from the key server"), TPM: bytesOf("from the TPM"), KeyFile: bytesOf("nobody asks for it")}
	}
	const want = "449e212b7ccf171d5841af3ce87c1ca3e9f2cd49b906f079c2f03642dd6e838d"
	token, id, parts := good()
	got, err := token.Passphrase(id, parts)
	if err != nil || hex.EncodeToString(got.Reveal()) != want {
		t.Fatalf("Passphrase = %x, %v, want %s", got.Reveal(), err, want)
	}
	upper, _ := token.Passphrase(strings.ToUpper(id), parts)
	if !upper.Equal(got) {
		t.Error("a UUID in capitals is the same volume")
	}

	for name, change := range map[string]func(t *Token, id *string, parts map[string]secret.Bytes){
		"another volume":  func(_ *Token, id *string, _ map[string]secret.Bytes) { *id = "6" + (*id)[1:] },
		"another salt":    func(t *Token, _ *string, _ map[string]secret.Bytes) { t.Salt = make([]byte, 32) },
		"another part":    func(_ *Token, _ *string, p map[string]secret.Bytes) { p[TPM] = bytesOf("from the TPm") },
		"parts exchanged": func(_ *Token, _ *string, p map[string]secret.Bytes) { p[KMS], p[TPM] = p[TPM], p[KMS] },
		"a part moved": func(_ *Token, _ *string, p map[string]secret.Bytes) {
			p[KMS], p[TPM] = bytesOf("from the key serverfrom"), bytesOf(" the TPM")
		},
		"one member more":  func(t *Token, _ *string, _ map[string]secret.Bytes) { t.Members = Kinds },
		"one member fewer": func(t *Token, _ *string, _ map[string]secret.Bytes) { t.Members = []string{KMS} },
	} {
		token, id, parts := good()
		change(&token, &id, parts)
		if other, err := token.Passphrase(id, parts); err != nil || other.Equal(got) {
			t.Errorf("%s: %v, the same passphrase: %t", name, err, other.Equal(got))
		}
	}
	for _, missing := range []string{KMS, TPM} {
		token, id, parts := good()
		for _, none := range []secret.Bytes{{}, bytesOf(""), secret.Make(maxPart + 1)} {
			parts[missing] = none
			if _, err := token.Passphrase(id, parts); err == nil || !strings.Contains(err.Error(), "the part of "+missing) {
				t.Errorf("%s of %d bytes: %v", missing, none.Len(), err)
			}
		}
	}
}

// made is a token as JSON writes it.
func made() Token {
	return Token{Slot: 2, Members: []string{KMS, TPM}, Salt: salt, Sealed: json.RawMessage(`{"tpm2-blob":"AAAA"}`), State: Enrolling}
}

func onDisk(text []byte) luks2.Token {
	return luks2.Token{ID: 3, Type: TokenType, Keyslots: []int{2}, JSON: text}
}

// TestTokens: what is written is read again, and what is none of ours is named.
func TestTokens(t *testing.T) {
	got, err := Parse(onDisk(made().JSON()))
	want := made()
	if err != nil || got.ID != 3 || got.Slot != 2 || !slices.Equal(got.Members, want.Members) || string(got.Salt) != string(salt) || string(got.Sealed) != string(want.Sealed) || got.State != Enrolling {
		t.Fatalf("Parse = %+v, %v", got, err)
	}

	for _, row := range []struct {
		name   string
		change map[string]any // nil takes a field out
		says   string         // "" is accepted
	}{
		{"a field of a later latchkey", map[string]any{"more": 1}, ""},
		{"enrolled", map[string]any{"state": nil}, ""},
		{"no secret of the TPM asked for", map[string]any{"members": []string{KeyFile, KMS}, "tpm2": nil}, ""},
		{"huge", map[string]any{"x": strings.Repeat("x", maxToken)}, "the limit is 20480"},
		{"a key twice in another case", map[string]any{"Salt": ""}, "Salt"},
		{"another type", map[string]any{"type": "systemd-tpm2"}, `its type is "systemd-tpm2"`},
		{"another derivation", map[string]any{"kdf": "none"}, `kdf is "none"`},
		{"no derivation", map[string]any{"kdf": nil}, `kdf is ""`},
		{"a short salt", map[string]any{"salt": "AAAA"}, "salt is not 32 bytes"},
		{"no salt", map[string]any{"salt": nil}, "salt is not 32 bytes"},
		{"a salt that is none", map[string]any{"salt": "!"}, "salt is not 32 bytes"},
		{"a salt with bits too many", map[string]any{"salt": strings.Replace(base64.StdEncoding.EncodeToString(salt), "8=", "9=", 1)}, "salt is not 32 bytes"},
		{"an odd state", map[string]any{"state": "open"}, `state is "open"`},
		{"one member", map[string]any{"members": []string{TPM}}, "there are 1 members"},
		{"no members", map[string]any{"members": nil}, "there are 0 members"},
		{"four members", map[string]any{"members": []string{KMS, KMS, KMS, KMS}}, "there are 4 members"},
		{"a member twice", map[string]any{"members": []string{TPM, TPM}}, "stands twice"},
		{"members out of order", map[string]any{"members": []string{TPM, KMS}}, "alphabetical"},
		{"a member that is none", map[string]any{"members": []string{KMS, "prompt"}}, `the member "prompt" is not known`},
		{"members as text", map[string]any{"members": "kms"}, "members"},
		{"no secret of the TPM", map[string]any{"tpm2": nil}, "tpm2 does not go with members"},
		{"a secret that nobody asks for", map[string]any{"members": []string{KeyFile, KMS}}, "tpm2 does not go with members"},
	} {
		var fields map[string]any
		if err := json.Unmarshal(made().JSON(), &fields); err != nil {
			t.Fatal(err)
		}
		maps.Copy(fields, row.change)
		maps.DeleteFunc(fields, func(_ string, v any) bool { return v == nil })
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Parse(onDisk(text)); (row.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want %q", row.name, err, row.says)
		}
	}
	for _, slots := range [][]int{nil, {1, 2}} {
		in := onDisk(made().JSON())
		in.Keyslots = slots
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), "keyslots, want one") {
			t.Errorf("for keyslots %d: %v", slots, err)
		}
	}
}

// FuzzToken: no token brings the init down; what is accepted is bounded, and
// written again it is the same.
func FuzzToken(f *testing.F) {
	f.Add([]byte(made().JSON()))
	f.Add([]byte(Token{Slot: 1, Members: []string{KeyFile, KMS}, Salt: salt}.JSON()))
	f.Add([]byte(`{"type":"latchkey-together","members":["kms","kms"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		token, err := Parse(onDisk(text))
		if err != nil {
			return
		}
		if len(token.Members) < 2 || len(token.Members) > len(Kinds) || len(token.Salt) != saltBytes || len(token.Sealed) > maxToken {
			t.Errorf("%s: %+v", text, token)
		}
		again, err := Parse(onDisk(token.JSON()))
		if err != nil || !slices.Equal(again.Members, token.Members) {
			t.Errorf("%s, written again: %v", text, err)
		}
	})
}

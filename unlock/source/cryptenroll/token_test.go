package cryptenroll

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"latchkey/unlock/tpm"
)

// made252 and made257 are tokens that systemd-cryptenroll 252.39 and 257.7
// wrote.
const (
	made252 = `{"type":"systemd-tpm2","keyslots":["1"],"tpm2-blob":"AJ4AINLFvjCHJpRgWEB8nEy0eZwnEqTH6liCYIBBY369BbbcABCQny37Ph+jDXhi6GDIkYQ2nSx/1CdB2ueoYnwrP3OH+nufhXBbrKbV3FV16/fsJ6KiyiTpxMYgGujw79M+x4yvvlvFJKzTLfBVjo0J1S+Cr4bxdBh3ufG6EmgzjV0nDcJQ4Wky5Zwq3F/tIKAWZFw4/MymXTzzlnm0/wBOAAgACwAAABIAIItWgtgbKUNdCNeSeBUGEdx+WSOy/vzOaEoJV3tAEwqLABAAIPnH8KODG/VBhrYTmNp7ZPMhQEtLZ5PxsMy0zPHv85cw","tpm2-pcrs":[7],"tpm2-pcr-bank":"sha256","tpm2-primary-alg":"ecc","tpm2-policy-hash":"8b5682d81b29435d08d79278150611dc7e5923b2fefcce684a09577b40130a8b","tpm2-pin":false}`
	made257 = `{"type":"systemd-tpm2","keyslots":["1"],"tpm2-blob":"AJ4AIDacXz/EB4tABpyCRaU1jqopyC5p8l1YXcO4w1oYi5lbABDhsiDdK0VhunByq4T2mx983cqzQhMkEzd++G/meieX1y+JmsiVGyEBwqhlw3wQJzLNRS0nJljMFHOymCNcaLL6M1CNj1QXzbN5R8oQ3mXU9Oa+9Y58WDioauzhWpIQl1R+l0vsvt83vCqYb9Y0qgqtufGR1Ca0UYtTUgBOAAgACwAABBIAIKrotbrd1EUuPqvFJ8u+fDXoi9ZbKJpd9GXFRPhkPoGWABAAIOMxkHuWQsSDMyX/00JT0LdEZEzjjJEAb0fLYduAoi28","tpm2-pcrs":[7,14],"tpm2-pcr-bank":"sha256","tpm2-primary-alg":"ecc","tpm2-policy-hash":"aae8b5baddd4452e3eabc527cbbe7c35e88bd65b289a5df465c544f8643e8196","tpm2_srk":"gQAAAQAiAAuAwgUlWt+domEsZNCEMrnh2RruerQwkn8wTzQWeOl+8gAAAAEAWgAjAAsAAwRyAAAABgCAAEMAEAADABAAIHXkeYdyyOrXUXbQNNAt9bY/a1OWyJL2TLGYiUbrREzfACAGly+ehAb1Of78GCov6qi9DSecpS0OVltbrpw1K9JFFg=="}`
)

// TestTokensOfSystemd reads what each version wrote.
func TestTokensOfSystemd(t *testing.T) {
	for _, row := range []struct {
		text   string
		parent tpm.Parent
		pcrs   string
		what   string
	}{
		{made252, tpm.Parent{Template: tpm.PlainP256}, "PCR 7 (sha256)", "PCRs [7] (sha256) as they were"},
		{made257, tpm.Parent{Handle: tpm.PersistentSRK}, "PCR 7+14 (sha256)", "PCRs [7 14] (sha256) as they were"},
	} {
		got, err := parseToken(json.RawMessage(row.text))
		if err != nil {
			t.Fatal(err)
		}
		p := got.sealed.Parent
		if p.Handle != row.parent.Handle || p.Template != row.parent.Template || p.Handle != 0 && !bytes.HasPrefix(p.Name, []byte{0, 0xb, 0x80, 0xc2}) {
			t.Errorf("parent = %+v, want %+v", p, row.parent)
		}
		if len(got.sealed.Policy) != 1 || fmt.Sprint(got.sealed.Policy[0]) != row.pcrs || len(got.sealed.Private) != 158 || len(got.sealed.Public) != 78 {
			t.Errorf("sealed = %+v", got.sealed)
		}
		if b := Describe(json.RawMessage(row.text)); b.What != row.what || b.Sealed != got.digest() || len(b.Sealed) != 64 {
			t.Errorf("Describe = %+v, want %q", b, row.what)
		}
	}
}

// keyPEM is a key as systemd keeps it in tokens.
func keyPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// with is the token of systemd 257 with some fields changed; nil takes one
// out.
func with(t testing.TB, change map[string]any) json.RawMessage {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(made257), &fields); err != nil {
		t.Fatal(err)
	}
	maps.Copy(fields, change)
	maps.DeleteFunc(fields, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// TestHostileTokens: what cannot be used is named.
func TestHostileTokens(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good, err := parseToken(json.RawMessage(made257))
	if err != nil {
		t.Fatal(err)
	}
	blob := func(tail ...byte) string {
		b := append([]byte{0, 158}, good.sealed.Private...)
		return b64(append(append(append(b, 0, 78), good.sealed.Public...), tail...))
	}
	ours := func(blob, parent string) map[string]any {
		return map[string]any{"latchkey_sealed": map[string]any{"blob": blob, "parent": b64([]byte(parent))}}
	}
	for _, row := range []struct {
		name   string
		change map[string]any
		says   string // "" is accepted
	}{
		{"nothing", nil, ""},
		{"a field of a later systemd", map[string]any{"tpm2_later": 1}, ""},
		{"a signed policy", map[string]any{"tpm2_pubkey": b64(keyPEM(t, &key.PublicKey)), "tpm2_pubkey_pcrs": []int{11}}, ""},
		{"no bank", map[string]any{"tpm2-pcr-bank": nil}, ""},
		{"an RSA parent without a handle", map[string]any{"tpm2_srk": nil, "tpm2-primary-alg": "rsa"}, ""},

		{"huge", map[string]any{"x": strings.Repeat("x", maxToken)}, "the limit is 16384"},
		{"a huge blob", map[string]any{"tpm2-blob": strings.Repeat("A", maxText+1)}, "tpm2-blob has 8193 bytes"},
		{"a key twice in another case", map[string]any{"TPM2-blob": ""}, "TPM2-blob"},
		{"a number for a blob", map[string]any{"tpm2-blob": 7}, "tpm2-blob is missing or no text"},
		{"no blob", map[string]any{"tpm2-blob": nil}, "tpm2-blob is missing or no text"},
		{"no base64", map[string]any{"tpm2-blob": "!"}, "tpm2-blob is no base64"},
		{"an empty blob", map[string]any{"tpm2-blob": ""}, "tpm2-blob is no base64"},
		{"two blobs", map[string]any{"tpm2-blob": []string{blob(), blob()}}, "it has 2 blobs"},
		{"a private part too long", map[string]any{"tpm2-blob": b64([]byte{0xff, 0xff, 1})}, "cut short"},
		{"no public part", map[string]any{"tpm2-blob": b64([]byte{0, 1, 1})}, "cut short"},
		{"sealed elsewhere", map[string]any{"tpm2-blob": blob(0, 1, 7)}, "--tpm2-device-key="},
		{"a PIN", map[string]any{"tpm2-pin": true}, ""},
		{"a PIN with salt", map[string]any{"tpm2-pin": true, "tpm2_salt": b64([]byte("salt"))}, ""},
		{"a salt that is none", map[string]any{"tpm2-pin": true, "tpm2_salt": "!"}, "tpm2_salt is no base64"},
		{"a huge salt", map[string]any{"tpm2-pin": true, "tpm2_salt": strings.Repeat("A", maxText+1)}, "tpm2_salt has 8193 bytes"},
		{"a number for a salt", map[string]any{"tpm2_salt": 7}, "tpm2_salt"},
		{"pcrlock", map[string]any{"tpm2_pcrlock": true}, "systemd-pcrlock"},
		{"text for a PIN", map[string]any{"tpm2-pin": "no"}, "tpm2-pin"},
		{"text for PCRs", map[string]any{"tpm2-pcrs": "7"}, "tpm2-pcrs"},
		{"a PCR that is none", map[string]any{"tpm2-pcrs": []int{24}}, "its PCRs are [24]"},
		{"a negative PCR", map[string]any{"tpm2_pubkey_pcrs": []int{-1}}, "its PCRs are [-1]"},
		{"25 PCRs", map[string]any{"tpm2-pcrs": make([]int, 25)}, "its PCRs are"},
		{"a bank that is none", map[string]any{"tpm2-pcr-bank": "md5"}, `tpm2-pcr-bank is "md5"`},
		{"a parent of another kind", map[string]any{"tpm2_srk": nil, "tpm2-primary-alg": "sm2"}, `tpm2-primary-alg is "sm2"`},
		{"a short parent", map[string]any{"tpm2_srk": b64([]byte{1, 2, 3})}, "tpm2_srk has 3 bytes"},
		{"a parent without a name", map[string]any{"tpm2_srk": b64([]byte{0x81, 0, 0, 1, 0, 0, 7})}, "no name of a key"},
		{"a huge parent", map[string]any{"tpm2_srk": b64(make([]byte, maxHandle+1))}, "tpm2_srk has 1025 bytes"},
		{"our own copy", ours(blob(), "name"), ""},
		{"our own copy, cut short", ours(b64([]byte{0, 1, 1}), "name"), "latchkey_sealed.blob is cut short"},
		{"our own copy without a blob", ours("", "name"), "latchkey_sealed.blob is no base64"},
		{"our own copy under no key", ours(blob(), ""), "latchkey_sealed.parent is no base64"},
		{"our own copy under a huge name", ours(blob(), strings.Repeat("x", maxText)), "latchkey_sealed.parent has 10924 bytes"},
		{"text for our own copy", map[string]any{"latchkey_sealed": "AAAA"}, "latchkey_sealed"},
		{"signed without a key", map[string]any{"tpm2_pubkey_pcrs": []int{11}}, "tpm2_pubkey is no base64"},
		{"signed by noise", map[string]any{"tpm2_pubkey_pcrs": []int{11}, "tpm2_pubkey": b64([]byte("noise"))}, "no PUBLIC KEY in PEM"},
		{"signed by a key with noise in it", map[string]any{"tpm2_pubkey_pcrs": []int{11}, "tpm2_pubkey": b64(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{0x30, 0}}))}, "no SubjectPublicKeyInfo"},
	} {
		_, err := parseToken(with(t, row.change))
		if (row.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want %q", row.name, err, row.says)
		}
	}
}

// TestOurOwnCopy: it is what the TPM is asked for, and what the plan names.
func TestOurOwnCopy(t *testing.T) {
	private, public := []byte("private"), []byte("public")
	text := with(t, map[string]any{"latchkey_sealed": map[string]any{"blob": b64(blobOf(tpm.Sealed{Private: private, Public: public})), "parent": b64([]byte("name"))}})
	got, err := parseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := (tpm.Parent{Template: tpm.SRKP256, Name: []byte("name")}); !reflect.DeepEqual(got.sealed.Parent, want) || !bytes.Equal(got.sealed.Private, private) {
		t.Errorf("sealed = %+v, want %q under %+v", got.sealed, private, want)
	}
	if sum := sha256.Sum256(public); Describe(text).Sealed != hex.EncodeToString(sum[:]) {
		t.Errorf("Describe = %+v, want the name of our own copy", Describe(text))
	}
	rsa, err := parseToken(with(t, map[string]any{"tpm2-primary-alg": "rsa", "latchkey_sealed": map[string]any{"blob": b64(blobOf(tpm.Sealed{Private: private, Public: public})), "parent": "AAAA"}}))
	if err != nil || rsa.sealed.Parent.Template != tpm.SRKRSA2048 {
		t.Errorf("of a TPM without P-256: %+v, %v", rsa, err)
	}
}

// FuzzToken: no token brings the init down, and what is accepted is bounded.
func FuzzToken(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(made252))
	f.Add([]byte(made257))
	f.Add([]byte(with(f, map[string]any{"tpm2_pubkey": b64(keyPEM(f, &key.PublicKey)), "tpm2_pubkey_pcrs": []int{11}})))
	f.Add([]byte(`{"tpm2-blob":["AAAA","AAAA"]}`))
	f.Add([]byte(`{"tpm2-blob":"AAAAAA==","latchkey_sealed":{"blob":"AAAAAA==","parent":"AAAA"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		Describe(text)
		token, err := parseToken(text)
		if err != nil {
			return
		}
		if len(token.sealed.Policy) > 3 || len(token.sealed.Public) > maxText || len(token.sealed.Parent.Name) > maxHandle {
			t.Errorf("%s: %+v", text, token.sealed)
		}
	})
}

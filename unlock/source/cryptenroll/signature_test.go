package cryptenroll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestKeys: the key that signs PCRs, as crypto/x509 sees it, and others.
func TestKeys(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseKey(keyPEM(t, &key.PublicKey))
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	if err != nil || !bytes.Equal(got.Modulus, key.N.Bytes()) || got.Exponent != rsaDefault || got.fingerprint != hex.EncodeToString(sum[:]) {
		t.Errorf("ParseKey = %+v, %v", got, err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseKey(keyPEM(t, &other.PublicKey)); err == nil || err.Error() != "it is no RSA key" {
		t.Errorf("a key on P-256: %v", err)
	}
}

// TestSignatures: the one that is by the key, for the bank, the PCRs and the
// policy is found among others, in a file that may be anything.
func TestSignatures(t *testing.T) {
	policy := [32]byte{1}
	pol := hex.EncodeToString(policy[:])
	entry := func(pcrs, pkfp, pol, sig string) string {
		return fmt.Sprintf(`{"pcrs":%s,"pkfp":%q,"pol":%q,"sig":%q}`, pcrs, pkfp, pol, sig)
	}
	good := entry("[11]", "abc", pol, "Z29vZA==")
	for _, row := range []struct {
		name, file string
		says       string // "" is found
	}{
		{"one", `{"sha256":[` + good + `]}`, ""},
		{"among others", `{"sha1":[],"sha256":[` + entry("[11]", "def", pol, "YmFk") + `,` + entry("[11]", "abc", "00", "YmFk") + `,` + entry("[11,12]", "abc", pol, "YmFk") + `,` + good + `]}`, ""},
		{"one that is no base64 before it", `{"sha256":[` + entry("[11]", "abc", pol, "!") + `,` + good + `]}`, ""},
		{"another key", `{"sha256":[` + entry("[11]", "def", pol, "YmFk") + `]}`, "none of 1 signatures"},
		{"another policy", `{"sha256":[` + entry("[11]", "abc", "00", "YmFk") + `]}`, "none of 1 signatures"},
		{"other PCRs", `{"sha256":[` + entry("[11,12]", "abc", pol, "YmFk") + `]}`, "none of 1 signatures"},
		{"another bank", `{"sha1":[` + good + `]}`, "none of 0 signatures of the bank sha256"},
		{"no list", `{"sha256":7}`, "bank sha256"},
		{"a bank twice", `{"sha256":[],"sha256":[` + good + `]}`, "the file of signatures"},
		{"noise", "noise", "the file of signatures"},
		{"nothing", "", "the file of signatures"},
		{"huge", `{"sha256":[` + good + `]}` + strings.Repeat(" ", maxSignatures), "the limit is"},
	} {
		got, err := Key{fingerprint: "abc"}.Find([]byte(row.file), "sha256", []int{11}, policy)
		if (row.says == "") != (err == nil) || err == nil && string(got) != "good" || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %q, %v, want %q", row.name, got, err, row.says)
		}
	}
}

// FuzzSignatures: the file is on the boot partition.
func FuzzSignatures(f *testing.F) {
	f.Add([]byte(`{"sha256":[{"pcrs":[11],"pkfp":"","pol":"00","sig":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		if sig, err := (Key{}).Find(file, "sha256", []int{11}, [32]byte{}); err == nil && len(sig) == 0 {
			t.Errorf("%q: no signature and no error", file)
		}
	})
}

// TestCheckSigner: an image is right for a token if the token's key signed
// it, or if the token wants no signature.
func TestCheckSigner(t *testing.T) {
	keys := make([][]byte, 2)
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = keyPEM(t, &key.PublicKey)
	}
	wants := with(t, map[string]any{"tpm2_pubkey": keys[0], "tpm2_pubkey_pcrs": []int{11}})
	for _, row := range []struct {
		name  string
		token json.RawMessage
		key   []byte
		err   string // "": none
	}{
		{"its key", wants, keys[0], ""},
		{"another's", wants, keys[1], "and the image's are signed by "},
		{"none", wants, nil, "and the image has no signature (--pcr-key)"},
		{"no key", wants, []byte("x"), "the key that signs the image: it is no PUBLIC KEY in PEM"},
		{"no signature wanted", with(t, nil), nil, ""},
		{"a token that is none", json.RawMessage("{}"), keys[0], "tpm2-blob"},
	} {
		err := CheckSigner(row.token, row.key)
		if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %v, want %q", row.name, err, row.err)
		}
	}
}

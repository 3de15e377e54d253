package policy_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/policy"
)

func publicPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// measured is what systemd-measure 252 calculated for the image whose
// signatures, for enter-initrd and enter-initrd:leave-initrd, are in testdata.
const measured = "2ba79dcc9eed5db8428fde142b25f8706c44b4acc734ec16f590b8e33f490a58"

// What systemd-measure signed is what a machine that measured the same is
// served by, and nothing else.
func TestSignedBySystemd(t *testing.T) {
	public, err := os.ReadFile("testdata/tpm2-pcr-public-key.pem")
	if err != nil {
		t.Fatal(err)
	}

	signatures, err := os.ReadFile("testdata/tpm2-pcr-signature.json")
	if err != nil {
		t.Fatal(err)
	}

	signed, err := policy.ReadSigned(signatures, public)
	if err != nil || len(signed) != 2 {
		t.Fatalf("ReadSigned = %d digests, %v, want 2", len(signed), err)
	}

	f := approved()
	f.Releases["signed"], f.Settings.Releases = policy.Release{Signed: signed}, []string{"signed"}
	if v := policy.Judge(f); v.Reason != policy.RuleBootState {
		t.Errorf("PCR 11 that nobody signed: %s", v.Status.Code())
	}
	var booted policy.Digest
	if err := booted.UnmarshalText([]byte(measured)); err != nil {
		t.Fatal(err)
	}

	f.PCRs[11] = booted
	if v := policy.Judge(f); v.Status != kms.OK {
		t.Errorf("signed PCR 11: %s (%s)", v.Status.Code(), v.Reason)
	}
	f.PCRs[12] = policy.Digest{1}
	if v := policy.Judge(f); v.Status != kms.PCRMismatch {
		t.Errorf("signed PCR 11 with another PCR 12: %s", v.Status.Code())
	}
}

// entry makes a signature as systemd writes it.
func entry(t *testing.T, key crypto.Signer, pcrs string, d policy.Digest, fingerprint string) string {
	t.Helper()
	sum := sha256.Sum256(d[:])
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"pcrs":%s,"pkfp":%q,"pol":%q,"sig":%q}`, pcrs, fingerprint, hex.EncodeToString(d[:]), base64.StdEncoding.EncodeToString(signature))
}

func TestSignatureFiles(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}

	good := entry(t, key, "[11]", policy.Digest{1}, "")
	for _, row := range []struct {
		name, text string
		key        crypto.Signer
		want       int // signed digests; 0: an error
	}{
		{"one", `{"sha256":[` + good + `]}`, key, 1},
		{"beside other banks", `{"sha1":[{"pcrs":[11]}],"sha256":[` + good + `]}`, key, 1},
		{"beside other PCRs", `{"sha256":[` + good + `,` + entry(t, key, "[7,11]", policy.Digest{2}, "") + `]}`, key, 1},
		{"beside another key's", `{"sha256":[` + good + `,` + entry(t, other, "[11]", policy.Digest{2}, strings.Repeat("a", 64)) + `]}`, key, 1},
		{"by another key", `{"sha256":[` + good + `]}`, other, 0},
		{"of another digest", `{"sha256":[` + strings.Replace(good, "01000", "02000", 1) + `]}`, key, 0},
		{"other PCRs only", `{"sha256":[` + entry(t, key, "[12]", policy.Digest{1}, "") + `]}`, key, 0},
		{"SHA-1 only", `{"sha1":[` + good + `]}`, key, 0},
		{"none", `{}`, key, 0},
		{"nonsense", `[]`, key, 0},
		{"weak key", `{"sha256":[` + good + `]}`, weak, 0},
		{"digest cut short", `{"sha256":[{"pcrs":[11],"pol":"0100","sig":"AA=="}]}`, key, 0},
	} {
		signed, err := policy.ReadSigned([]byte(row.text), publicPEM(t, row.key))
		if len(signed) != row.want || (err == nil) != (row.want > 0) {
			t.Errorf("%s: ReadSigned = %d digests, %v, want %d", row.name, len(signed), err, row.want)
		}
	}

	if _, err := policy.ReadSigned([]byte(`{"sha256":[`+good+`]}`), []byte("no key")); err == nil {
		t.Error("a file that is no key was taken for one")
	}
}

func FuzzReadSigned(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}

	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}

	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	f.Add([]byte(`{"sha256":[{"pcrs":[11],"pkfp":"","pol":"` + strings.Repeat("0", 64) + `","sig":"AAAA"}]}`))
	f.Add([]byte(`{"sha256":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if signed, err := policy.ReadSigned(b, public); err == nil || signed != nil {
			t.Errorf("ReadSigned took %q, which nobody signed", b)
		}
	})
}

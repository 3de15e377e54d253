package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
)

// publicKey is an RSA key in PEM.
func publicKey(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// TestSystemdOfThisMachine: an image that could not open a volume of this
// machine by its TPM is warned of.
func TestSystemdOfThisMachine(t *testing.T) {
	const uuid = "5ca1ab1e-0000-4000-8000-00000000d150"
	good := fmt.Sprintf(`{"type":"systemd-tpm2","keyslots":["0"],"tpm2-blob":%q}`, base64.StdEncoding.EncodeToString([]byte("\x00\x01p\x00\x01q")))
	sealed := cryptenroll.Describe([]byte(good)).Sealed
	signed := strings.TrimSuffix(good, "}") + fmt.Sprintf(`,"tpm2_pubkey":%q,"tpm2_pubkey_pcrs":[11]}`, base64.StdEncoding.EncodeToString(publicKey(t)))
	withPIN := strings.TrimSuffix(good, "}") + `,"tpm2-pin":true}`
	for _, row := range []struct {
		name   string
		tokens []string
		allow  []string
		digest string // "own" is the header's
		warns  string // "": nothing
		signer string // the same of an image that nothing signs
	}{
		{"allowed", []string{good}, []string{sealed}, "", "", ""},
		{"not allowed", []string{good}, []string{strings.Repeat("0", 64)}, "", "token 0: the plan does not allow its sealed secret " + sealed + "; latchkey volume inspect ", ""},
		{"the header is pinned", []string{good}, nil, "own", "", ""},
		{"another header is pinned", []string{good}, nil, "00", "every boot would refuse ", ""},
		{"one of two", []string{withPIN, good}, []string{sealed}, "", "", ""},
		{"a PIN", []string{withPIN}, []string{sealed}, "", "token 0: it wants a PIN", ""},
		{"none", nil, []string{sealed}, "", "has no token of type systemd-tpm2", ""},
		{"signed PCRs", []string{signed}, []string{sealed}, "", "", "and the image has no signature"},
		{"signed PCRs, or not", []string{signed, good}, []string{sealed}, "", "", ""},
	} {
		dir := t.TempDir()
		f, h := emptyVolume(t, filepath.Join(dir, uuid), uuid)
		for _, token := range row.tokens {
			var err error
			if h, _, err = h.SetToken(f, luks2.AnyToken, []byte(token)); err != nil {
				t.Fatal(err)
			}
		}

		if row.digest == "own" {
			sum := h.SubsetDigest()
			row.digest = hex.EncodeToString(sum[:])
		}
		p := &plan.Plan{Systemd: plan.SystemdTPM2{Sealed: row.allow}, Volumes: []plan.Volume{{UUID: uuid, Name: "root", Digest: row.digest, Sources: []string{"systemd-tpm2"}}, {UUID: "not here", Sources: []string{"systemd-tpm2"}}}}
		got := strings.Join(tokenWarnings(dir, p), "\n")
		if (got == "") != (row.warns == "") || !strings.Contains(got, row.warns) {
			t.Errorf("%s: warnings = %q, want %q", row.name, got, row.warns)
		}
		got = strings.Join(signerWarnings(dir, p, nil), "\n")
		if (got == "") != (row.signer == "") || !strings.Contains(got, row.signer) {
			t.Errorf("%s: warnings of an unsigned image = %q, want %q", row.name, got, row.signer)
		}
		p.Volumes[0].Sources, p.Volumes[0].Digest = []string{"kms"}, ""
		if got := tokenWarnings(dir, p); got != nil {
			t.Errorf("%s: warnings of a plan without the source = %q", row.name, got)
		}
	}
}

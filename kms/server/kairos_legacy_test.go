package server_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"latchkey/kms/server/kairos"
)

// generated is what a node's TPM makes of a passphrase: 256 bytes that only
// it can read.
var generated = bytes.Repeat([]byte{0xfb}, kairos.SealedSize)

// The recorded story: no volume, no secret, the node posts one, and gets it
// back, told that its TPM made it.
func TestKairosLegacy(t *testing.T) {
	f, tpm := newKMS(t, speaksKairos), newSoft(t)
	tpm.Attributes = "\x00\x05\x00\x72" // as the legacy generation makes them
	n := f.kairosNode(tpm)
	get := func(want string) {
		t.Helper()
		if r, err := n.GetPass(); err != nil || r.Raw != want+"\n" || r.Kind != 2 {
			t.Errorf("GetPass = %d %q, %v, want binary %q", r.Kind, r.Raw, err, want)
		}
	}

	get(`{"passphrase":"","error":"no volume found with data from request and hash: ` + tpm.Hash() + `","generated_by":""}`)
	if err := f.apply(tpm, document); err != nil {
		t.Fatal(err)
	}

	get(`{"passphrase":"","error":"No secret found for ` + tpm.Hash() + ` and COS_PERSISTENT","generated_by":""}`)
	if err := n.PostPass(generated); err != nil {
		t.Fatal(err)
	}

	kept := `{"passphrase":"` + base64.RawURLEncoding.EncodeToString(generated) + `","error":"","generated_by":"tpm"}`
	get(kept)
	if err := n.PostPass(bytes.Repeat([]byte{1}, kairos.SealedSize)); err != nil {
		t.Fatal(err)
	}

	get(kept) // never overwritten
	// After an upgrade the ciphertext is not given out as a passphrase,
	// nor another one made.
	refused(t, n, "passphrase was encrypted by this TPM")
	get(kept) // what the refused proof showed did not bind the volume
}

func TestKairosLegacyStatic(t *testing.T) {
	f, tpm := newKMS(t, speaksKairos), newSoft(t)
	text := `awesome "plaintext" \passphrase`
	named := document + "      secret: {name: mine, path: pass}\n"
	if err := f.apply(tpm, named); err != nil {
		t.Fatal(err)
	}

	n := f.kairosNode(tpm)
	if r, err := n.GetPass(); err != nil || !strings.HasPrefix(r.Error, "no volume found") {
		t.Errorf("GetPass without the Secret = %+v, %v, want no volume found: nobody may make one", r, err)
	}
	refused(t, n, "") // it may come
	if err := n.PostPass(generated); err != nil {
		t.Fatal(err)
	}

	secretDocument := "apiVersion: v1\nkind: Secret\nmetadata: {name: mine}\ndata: {KEY: " + base64.StdEncoding.EncodeToString([]byte(text)) + "}\n"
	if err := f.apply(tpm, strings.ReplaceAll(secretDocument, "KEY", "other")); err != nil {
		t.Fatal(err)
	}

	refused(t, n, "passphrase not found in secret at key: pass")
	if err := f.apply(tpm, strings.ReplaceAll(secretDocument, "KEY", "pass")); err != nil {
		t.Fatal(err)
	}

	if r, err := n.GetPass(); err != nil || r.Passphrase != text || r.GeneratedBy != "" {
		t.Errorf("GetPass = %+v, %v, want %q", r, err, text)
	}
	if got := must(t, n); got != text {
		t.Errorf("Attest = %q, want %q", got, text)
	}
}

// postPass takes only what a TPM encrypted.
func TestKairosDepositRules(t *testing.T) {
	f, _, n := setUp(t)
	for name, bend := range map[string]func(map[string]any){
		"not by a TPM": func(m map[string]any) { m["generated_by"] = "" },
		"padded":       func(m map[string]any) { m["passphrase"] = base64.URLEncoding.EncodeToString(generated) },
		"short":        func(m map[string]any) { m["passphrase"] = "AAAA" },
		"an error":     func(m map[string]any) { m["error"] = "x" },
		"twice":        func(m map[string]any) { m["Passphrase"] = "x" },
	} {
		n.Proof = bend
		if err := n.PostPass(generated); err != nil {
			t.Errorf("%s: PostPass = %v, want a closed connection", name, err)
		}
	}

	n.Proof = nil
	if r, err := n.GetPass(); err != nil || !strings.HasPrefix(r.Error, "No secret found") {
		t.Errorf("GetPass = %+v, %v, want no secret", r, err)
	}
	f.Close()
}

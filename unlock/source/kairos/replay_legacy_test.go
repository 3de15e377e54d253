package kairos

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
)

// The legacy exchanges: heads, the opened challenge, the deposit.
func TestRecordedLegacy(t *testing.T) {
	read, posted := 0, 0
	for _, r := range recordings(t, "kairos-getpass-postpass.txt") {
		if len(r.client) == 0 || strings.Contains(r.request, attestationPath) {
			continue
		}
		chip := legacyChip(t, r)
		want, _ := requestOf(t, r.request)
		server, got := replay(t, r)
		c := Client{Server: server, TPM: chip, Legacy: true}
		var p secret.Bytes
		var err error
		if strings.Contains(r.request, postPath) {
			err = c.deposit(t.Context(), want, chip.sealed)
			posted++
		} else {
			p, err = c.getPass(t.Context(), want)
			read += checkLegacy(t, r, chip, p, err)
		}
		sent := <-got
		if diff := cmp.Diff(r.client, sent.client); diff != "" || !slices.Equal(sent.opcode, r.opcode) {
			t.Errorf("connection %d: frames of kinds %v, %v (-theirs +ours):\n%s", r.number, sent.opcode, err, diff)
		}
		if diff := cmp.Diff(names(t, r.request), names(t, sent.request)); diff != "" {
			t.Errorf("connection %d: head (-theirs +ours):\n%s", r.number, diff)
		}
	}
	if read < 2 || posted < 1 {
		t.Errorf("%d passphrases and %d deposits in the recordings, want more", read, posted)
	}
}

func legacyChip(t *testing.T, r recording) *replayed {
	t.Helper()
	_, h := requestOf(t, r.request)
	token, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(h.Get("Authorization"), "Bearer TPM"))
	if err != nil {
		t.Fatal(err)
	}
	var keys struct {
		EK []byte
		AK akParameters
	}
	var opened struct{ Secret []byte }
	if err := json.Unmarshal(token, &keys); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(r.client[0]), &opened); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(keys.EK)
	chip := &replayed{spki: block.Bytes, ak: tpm.AttestationKey{Public: keys.AK.Public, CreateData: keys.AK.CreateData, CreateAttestation: keys.AK.CreateAttestation, CreateSignature: keys.AK.CreateSignature}, opened: opened.Secret}
	if len(r.client) > 1 {
		var post struct{ Passphrase string }
		if err := json.Unmarshal([]byte(r.client[1]), &post); err != nil {
			t.Fatal(err)
		}
		if chip.sealed, err = base64.RawURLEncoding.DecodeString(post.Passphrase); err != nil {
			t.Fatal(err)
		}
	}
	return chip
}

func checkLegacy(t *testing.T, r recording, chip *replayed, p secret.Bytes, err error) (read int) {
	t.Helper()
	var theirs struct {
		Passphrase  string `json:"passphrase"`
		Error       string `json:"error"`
		GeneratedBy string `json:"generated_by"`
	}
	for _, frame := range r.server {
		if err := json.Unmarshal([]byte(frame), &theirs); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case strings.HasPrefix(theirs.Error, noSecret) || strings.HasPrefix(theirs.Error, noVolume):
		if codes.Of(err) != CodeWaiting {
			t.Errorf("connection %d: getPass = %v, want code %s", r.number, err, CodeWaiting)
		}
	case theirs.Error != "":
		if codes.Of(err) != CodeRefused {
			t.Errorf("connection %d: getPass = %v, want code %s", r.number, err, CodeRefused)
		}
	case theirs.GeneratedBy == byTPM:
		if err != nil || string(p.Reveal()) != "decrypted" || base64.RawURLEncoding.EncodeToString(chip.sealed) != theirs.Passphrase {
			t.Errorf("connection %d: getPass = %q, %v, want what the TPM decrypts", r.number, p.Reveal(), err)
		}
		return 1
	case theirs.Passphrase != "":
		if err != nil || string(p.Reveal()) != theirs.Passphrase {
			t.Errorf("connection %d: getPass = %q, %v, want %q", r.number, p.Reveal(), err, theirs.Passphrase)
		}
		return 1
	}
	return 0
}

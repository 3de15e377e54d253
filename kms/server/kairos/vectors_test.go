package kairos

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"latchkey/internal/secret"
)

// recorded is one connection of the recordings: the frames each way, and
// the heads.
type recorded struct {
	heads, client, server []string
}

func recordings(t testing.TB, file string) (out []recorded) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}

	frame := regexp.MustCompile(`(?m)^\[[^\]]*\] (C>S|S>C): WS [A-Z]+ [^\n]*\n([^\n]*)$`)
	head := regexp.MustCompile(`(?ms)^GET [^\n]*\n.*?\n\n`)
	for _, c := range strings.Split(string(text), "=== connection ")[1:] {
		r := recorded{heads: head.FindAllString(c, -1)}
		for _, f := range frame.FindAllStringSubmatch(c, -1) {
			if f[1] == "C>S" {
				r.client = append(r.client, f[2])
			} else {
				r.server = append(r.server, f[2])
			}
		}
		out = append(out, r)
	}

	return out
}

// Every recorded proof of their client holds here, but the one of
// connection 9: somebody who forged a quote, which their server believed.
//
// compatible: Kairos, Talos, Kubernetes | Kairos kcrypt (recorded) | proofs of its clients hold
func TestRecordedAttestations(t *testing.T) {
	held, forged := 0, 0
	for i, r := range recordings(t, "kairos-tpm-attestation.txt") {
		if len(r.client) != 2 {
			continue
		}
		id, later, err := readHello([]byte(r.client[0]))
		if err != nil || later {
			t.Errorf("connection %d: readHello = %v, %v", i+1, later, err)
			continue
		}

		if sum := sha256.Sum256(id.spki); id.hash() != sum {
			t.Errorf("connection %d: hash = %s", i+1, id.hash())
		}
		var m proof
		if err := json.Unmarshal([]byte(r.client[1]), &m); err != nil {
			t.Fatal(err)
		}

		quote, err := readProof([]byte(r.client[1]), id, secret.Own(m.Secret))
		if strings.Contains(r.client[1], `"quote":"AAAAA`) {
			forged++
			if err == nil || !strings.Contains(err.Error(), "magic") && !strings.Contains(err.Error(), "signature") {
				t.Errorf("connection %d: the forged quote: %v, want it refused", i+1, err)
			}
			continue
		}
		if err != nil || !quote.Safe || quote.Clock == 0 || len(quote.PCRs) != 3 {
			t.Errorf("connection %d: readProof = %+v, %v", i+1, quote, err)
		}

		if _, err := readProof([]byte(r.client[1]), id, secret.Random(32)); err == nil {
			t.Errorf("connection %d: a proof for another challenge holds", i+1)
		}
		held++
	}
	if held < 10 || forged != 1 {
		t.Errorf("%d proofs held and %d were forged; the recording has more", held, forged)
	}
}

// What we send is what their servers sent, byte for byte.
//
// compatible: Kairos, Talos, Kubernetes | Kairos kcrypt-challenger (recorded) | our answers are its, byte for byte
func TestRecordedAnswers(t *testing.T) {
	n := 0
	for _, file := range []string{"kairos-tpm-attestation.txt", "kairos-getpass-postpass.txt"} {
		for _, r := range recordings(t, file) {
			for _, frame := range r.server {
				var m struct {
					legacyPass
					Challenge credential `json:"challenge"`
					EC        credential
				}

				if err := json.Unmarshal([]byte(frame), &m); err != nil {
					t.Fatal(err)
				}
				if got := encodeAs(t, frame, m.legacyPass, m.Challenge, m.EC); got != frame && got != frame+"\n" {
					t.Errorf("encoded %q, want %q", got, frame)
				}

				n++
			}
		}
	}
	if n < 40 {
		t.Errorf("%d frames in the recordings, want more", n)
	}
}

func encodeAs(t *testing.T, frame string, m legacyPass, challenge, ec credential) string {
	t.Helper()
	var out []byte
	var err error
	switch {
	case strings.HasPrefix(frame, `{"challenge"`):
		out, err = encodeChallenge(challenge, textFrame)
	case strings.HasPrefix(frame, `{"EC"`):
		out, err = encodeChallenge(ec, binaryFrame)
	case strings.HasPrefix(frame, `{"error"`):
		return frame // their reasons are not all ours

	case strings.HasSuffix(frame, `"generated_by":""}`) && m.Passphrase == "":
		out, err = json.Marshal(m)
	case strings.Contains(frame, "generated_by"):
		var s secret.Bytes
		s, err = encodeLegacy(&Answer{Passphrase: secret.Own([]byte(m.Passphrase)), Sealed: m.GeneratedBy == "tpm"})
		out = s.Reveal()

	default:
		text, bad := base64.StdEncoding.DecodeString(m.Passphrase)
		if bad != nil {
			t.Fatal(bad)
		}
		out = encodePassphrase(secret.Own(text)).Reveal()
	}
	if err != nil {
		t.Fatal(err)
	}

	return string(out)
}

// The legacy client's keys and names are read from its recorded heads.
func TestRecordedHeads(t *testing.T) {
	const hash = "8ea95820c30b08286a3b40713684c711d66cb87678ffc459f6b356a8dfa95589"
	n := 0
	for i, r := range recordings(t, "kairos-getpass-postpass.txt") {
		for _, head := range r.heads {
			h := http.Header{}
			for line := range strings.Lines(head) {
				if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
					h.Add(name, value)
				}
			}

			if h.Get("Authorization") == "" {
				continue
			}
			id, err := readBearer(h)
			if err != nil || id.hash().String() != hash {
				t.Errorf("connection %d: readBearer = %v, %v, want hash %s", i+1, id, err, hash)
			}

			if want, err := readRequest(h); err != nil || want.Label == "" {
				t.Errorf("connection %d: readRequest = %+v, %v", i+1, want, err)
			}
			n++
		}
	}

	if n < 6 {
		t.Errorf("%d legacy heads in the recording, want more", n)
	}
}

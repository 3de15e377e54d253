package server_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// wire keeps what crossed the wire, and may change it.
type wire struct {
	http.Handler
	bodies  [][]byte // requests and answers in turn
	request func(path string, body []byte) []byte
	answer  func(path string, body []byte) []byte
}

func (w *wire) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if w.request != nil {
		body = w.request(r.URL.Path, body)
	}
	w.bodies = append(w.bodies, body)
	status, answer := post(w.Handler, r.URL.Path, body)
	if w.answer != nil {
		answer = w.answer(r.URL.Path, answer)
	}
	w.bodies = append(w.bodies, answer)
	out.WriteHeader(status)
	out.Write(answer)
}

// post calls the handler as the network would.
func post(h http.Handler, path string, body []byte) (int, []byte) {
	r, _ := http.NewRequestWithContext(context.Background(), "POST", "http://kms"+path, bytes.NewReader(body))
	r.RemoteAddr = "192.0.2.7:1"
	w := &answer{status: 200, header: http.Header{}}
	h.ServeHTTP(w, r)
	return w.status, w.body.Bytes()
}

type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (w *answer) Header() http.Header         { return w.header }
func (w *answer) WriteHeader(status int)      { w.status = status }
func (w *answer) Write(b []byte) (int, error) { return w.body.Write(b) }

// through puts a wire between the client and the KMS.
func (f *fixture) through(w *wire) *wire {
	w.Handler = f.Handler()
	f.url = serveHTTP(f.t, w)
	return w
}

func TestRedeemIsSingleUse(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	w := f.through(&wire{})
	f.mustGet(node)
	m3, m4 := w.bodies[len(w.bodies)-2], w.bodies[len(w.bodies)-1]
	status, again := post(f.Handler(), kms.RedeemPath, m3)
	if status != 200 || len(again) != len(m4) {
		t.Errorf("a second redeem gave status %d and %d bytes, want 200 and %d: the uniform refusal", status, len(again), len(m4))
	}

	if bytes.Equal(again, m4) {
		t.Error("a second redeem gave the same answer")
	}
	if events := f.events("get"); events != 1 {
		t.Errorf("the log has %d grants, want 1", events)
	}
}

// Whoever relays M3 and changes it gains nothing; nor does a second
// redeemer that is quicker.
func TestAlteredRedeemIsRefused(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	for _, row := range []struct {
		name   string
		change func(*kms.Redeem)
	}{
		{"other cookie", func(m *kms.Redeem) { m.Cookie[len(m.Cookie)-1] ^= 1 }},
		{"no cookie", func(m *kms.Redeem) { m.Cookie = nil }},
		{"other ciphertext", func(m *kms.Redeem) { m.Ciphertext[kms.MLKEMCipherSize-1] ^= 1 }},
		{"ciphertext of zeros", func(m *kms.Redeem) { m.Ciphertext = [kms.MLKEMCipherSize]byte{} }},
		{"other MAC", func(m *kms.Redeem) { m.MAC[0] ^= 1 }},
		{"other quote", func(m *kms.Redeem) { m.Quote.Attest[30] ^= 1 }},
		{"offers with a get", func(m *kms.Redeem) { m.Offers = []byte{1} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			f.through(&wire{request: func(path string, body []byte) []byte {
				if path != kms.RedeemPath {
					return body
				}
				m, err := kms.ParseRedeem(body)
				if err != nil {
					t.Fatal(err)
				}
				row.change(m)
				return m.Encode()
			}})
			if _, err := f.get(node); code(err) != kms.CodeNoGrant {
				t.Errorf("Get = %v, want code %s", err, kms.CodeNoGrant)
			}
		})
	}
}

// F11: after a restart a challenge is worth nothing, and a new one works.
func TestRestartCostsOneChallenge(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	w := f.through(&wire{})
	f.mustGet(node)
	m3 := w.bodies[2]
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	if err := f.start(); err != nil {
		t.Fatal(err)
	}
	if status, _ := post(f.Handler(), kms.RedeemPath, m3); status != http.StatusForbidden {
		t.Errorf("a cookie of before the restart gave status %d, want 403", status)
	}

	f.mustGet(node)
}

// D2, D3: a relay that sees and may change everything learns nothing.
func TestRelayLearnsNothing(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	w := f.through(&wire{})
	f.mustGet(node)
	offer := []kms.Offer{{UUID: data, Kind: kms.Static, Secret: secret.Own([]byte("canary-put"))}}
	if _, err := f.client().Deposit(ctx, f.url, node, kms.Put, wants(data), offer); err != nil {
		t.Fatal(err)
	}

	for i, body := range w.bodies {
		if bytes.Contains(body, []byte("canary")) {
			t.Errorf("message %d of the transcript contains the canary", i)
		}
	}

	// Every byte of M2 that is changed on the way ends the exchange before
	// the TPM is asked.
	for at := 0; at < len(w.bodies[1]); at += 23 {
		f.through(&wire{answer: func(path string, body []byte) []byte {
			if path == kms.ChallengePath {
				body[at%len(body)] ^= 0x40
			}
			return body
		}})
		asked := 0
		spy := forger{TPM: node, opened: func(s secret.Bytes) secret.Bytes { asked++; return s }}
		if _, err := f.get(spy); err == nil || asked != 0 {
			t.Errorf("M2 with byte %d changed: %v, the TPM was asked %d times", at, err, asked)
		}
	}
}

// A relay cannot put its own ephemeral key, volumes or operation into M1:
// the node's signature check covers M1 as the KMS received it.
func TestAlteredHelloIsNoticed(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.through(&wire{request: func(path string, body []byte) []byte {
		if path == kms.ChallengePath {
			m, err := kms.ParseHello(body)
			if err != nil {
				t.Fatal(err)
			}
			m.Volumes[0].Digest = [32]byte{0xee}
			return m.Encode()
		}
		return body
	}})

	if _, err := f.get(node); code(err) != kms.CodeWrongPin {
		t.Errorf("Get = %v, want code %s", err, kms.CodeWrongPin)
	}
}

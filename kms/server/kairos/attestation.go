package kairos

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
)

// akParameters is the AK as it travels: keys are the names of Go fields.
// What certifies its creation is not looked at: the attributes in its name,
// which the activation proves, say all.
type akParameters struct {
	Public                  text64
	UseTCSDActivationFormat bool
}

// hello is the first message.
type hello struct {
	EK    text64       `json:"ek_public"`
	AK    akParameters `json:"ak_params"`
	Defer bool         `json:"defer_pcr_enrollment"`
}

// proof is the third message.
type proof struct {
	Secret text64   `json:"secret"`
	Quote  pcrQuote `json:"pcr_quote"`
}

var (
	helloKeys = []string{"ek_public", "ak_params", "defer_pcr_enrollment", "Public", "UseTCSDActivationFormat"}
	proofKeys = []string{"secret", "pcr_quote", "quote", "version", "signature", "pcrs"}
)

// errProof is a proof that does not hold.
var errProof = errors.New("the proof does not hold")

// attest is the new exchange: keys, challenge, proof, passphrase.
func (h *handler) attest(ctx context.Context, s *socket, r *http.Request, want Request) error {
	message, err := s.read()
	if err != nil {
		return err
	}

	id, later, err := readHello(message.Reveal())
	if err != nil {
		return err
	}

	value, err := h.challenge(ctx, s, id, textFrame)
	if err != nil {
		return err
	}
	defer value.Wipe()
	message, err = s.read()
	if err != nil {
		return err
	}
	defer message.Wipe()
	var quote *Quote
	err = h.keeper.Work(ctx, func() error {
		quote, err = readProof(message.Reveal(), id, value)
		return err
	})
	if errors.Is(err, errProof) {
		return errors.Join(err, s.refuse("Attestation verification failed: the proof does not hold"))
	}
	if err != nil {
		return err
	}

	p := id.proof(want, remote(r))
	p.Quote, p.Defer = quote, later
	return h.release(ctx, s, p)
}

func (id *identity) proof(want Request, from string) *Proof {
	return &Proof{Hash: id.hash(), EK: id.spki, AK: [32]byte(id.name[2:]), Request: want, From: from}
}

func readHello(message []byte) (*identity, bool, error) {
	var m hello
	if err := strictjson.DecodeKnown(message, &m, helloKeys...); err != nil {
		return nil, false, err
	}
	if m.AK.UseTCSDActivationFormat {
		return nil, false, errors.New("reading the AK: it is of a TPM 1.2")
	}
	id, err := newIdentity(m.EK, m.AK.Public)
	return id, m.Defer, err
}

// readProof: the TPM opened the challenge, and its quote holds.
func readProof(message []byte, id *identity, value secret.Bytes) (*Quote, error) {
	var m proof
	if err := strictjson.DecodeKnown(message, &m, proofKeys...); err != nil {
		return nil, err
	}
	opened := secret.Own(m.Secret)
	defer opened.Wipe()
	if !opened.Equal(value) {
		return nil, fmt.Errorf("%w: the challenge was not opened", errProof)
	}
	quote, err := m.Quote.check(id.ak)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProof, err)
	}
	return quote, nil
}

// challenge sends a credential and returns what it hides.
func (h *handler) challenge(ctx context.Context, s *socket, id *identity, k kind) (secret.Bytes, error) {
	value := secret.Random(32)
	var c credential
	err := h.keeper.Work(ctx, func() (err error) {
		c, err = id.credential(value)
		return err
	})

	var message []byte
	if err == nil {
		message, err = encodeChallenge(c, k)
	}
	if err == nil {
		err = s.write(k, message)
	}
	if err != nil {
		value.Wipe()
		return secret.Bytes{}, err
	}

	return value, nil
}

// encodeChallenge: the new one ends with a newline, the legacy one not.
func encodeChallenge(c credential, k kind) ([]byte, error) {
	if k == binaryFrame {
		return json.Marshal(struct{ EC credential }{c})
	}
	message, err := json.Marshal(struct {
		Challenge credential `json:"challenge"`
	}{c})
	return append(message, '\n'), err
}

// release answers a final refusal with its text. A node stops for good
// then; for what passes the connection is closed, and the node asks again.
func (h *handler) release(ctx context.Context, s *socket, p *Proof) error {
	answer, err := h.keeper.Release(ctx, p)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		if !refusal.Reason.Final() {
			return err
		}
		return errors.Join(err, s.refuse(refusal.text()))
	}
	if err != nil {
		return err
	}
	defer answer.Passphrase.Wipe()
	if answer.Sealed {
		return errors.Join(&Refusal{Reason: TPMSealed}, s.refuse((&Refusal{Reason: TPMSealed}).text()))
	}

	message := encodePassphrase(answer.Passphrase)
	defer message.Wipe()
	return s.write(textFrame, message.Reveal())
}

func encodePassphrase(p secret.Bytes) secret.Bytes {
	const head, tail = `{"passphrase":"`, "\"}\n"
	out := secret.Make(len(head) + base64.StdEncoding.EncodedLen(p.Len()) + len(tail))
	b := append(out.Reveal()[:0], head...)
	b = base64.StdEncoding.AppendEncode(b, p.Reveal())
	copy(out.Reveal()[len(b):], tail)
	return out
}

func (s *socket) refuse(why string) error {
	message, err := json.Marshal(struct {
		Error string `json:"error"`
	}{why})
	if err != nil {
		return err
	}
	return s.write(textFrame, append(message, '\n'))
}

package kairos

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
)

// bearer precedes the keys of a legacy node, without a space after it.
const bearer = "Bearer TPM"

// SealedSize is what RSA-OAEP makes of a passphrase under a node's
// RSA-2048 key, in bytes.
const SealedSize = 256

// attestationData is what a legacy node says of its keys.
type attestationData struct {
	EK text64 // PEM
	AK akParameters
}

// legacyPass is the passphrase of both legacy exchanges.
type legacyPass struct {
	Passphrase  string `json:"passphrase"`
	Error       string `json:"error"`
	GeneratedBy string `json:"generated_by"`
}

// getPass is the legacy exchange: challenge, its secret, passphrase.
func (h *handler) getPass(ctx context.Context, s *socket, r *http.Request, want Request) error {
	p, err := h.activate(ctx, s, r, want)
	if err != nil {
		return err
	}

	answer, err := h.keeper.Release(ctx, p)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return errors.Join(err, s.refuseLegacy(refusal.legacyText(p.Hash, want)))
	}
	if err != nil {
		return err
	}
	defer answer.Passphrase.Wipe()
	message, err := encodeLegacy(answer)
	if err != nil {
		return err
	}
	defer message.Wipe()
	return s.write(binaryFrame, message.Reveal())
}

// postPass keeps a passphrase that the node generated, encrypted by its
// TPM: the documented mode in which the KMS cannot read the key.
func (h *handler) postPass(ctx context.Context, s *socket, r *http.Request, want Request) error {
	p, err := h.activate(ctx, s, r, want)
	if err != nil {
		return err
	}
	message, err := s.read()
	if err != nil {
		return err
	}
	defer message.Wipe()
	sealed, err := readDeposit(message.Reveal())
	if err != nil {
		return err
	}
	return h.keeper.Deposit(ctx, p, sealed)
}

func readDeposit(message []byte) ([]byte, error) {
	var m legacyPass
	if err := strictjson.DecodeKnown(message, &m, "passphrase", "error", "generated_by"); err != nil {
		return nil, err
	}
	if m.GeneratedBy != "tpm" || m.Error != "" {
		return nil, errors.New("reading a generated passphrase: it is not one that the TPM encrypted")
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(m.Passphrase)
	if err != nil || len(sealed) != SealedSize {
		return nil, errors.New("reading a generated passphrase: it is not RSA-2048 encrypted")
	}
	return sealed, nil
}

// activate proves that the TPM with both keys is on the other end.
func (h *handler) activate(ctx context.Context, s *socket, r *http.Request, want Request) (*Proof, error) {
	id, err := readBearer(r.Header)
	if err != nil {
		return nil, err
	}

	value, err := h.challenge(ctx, s, id, binaryFrame)
	if err != nil {
		return nil, err
	}
	defer value.Wipe()
	message, err := s.read()
	if err != nil {
		return nil, err
	}
	defer message.Wipe()
	var m struct{ Secret text64 }
	if err := strictjson.DecodeKnown(message.Reveal(), &m, "Secret"); err != nil {
		return nil, err
	}

	opened := secret.Own(m.Secret)
	defer opened.Wipe()
	if !opened.Equal(value) {
		return nil, fmt.Errorf("%w: the challenge was not opened", errProof)
	}

	return id.proof(want, remote(r)), nil
}

func readBearer(h http.Header) (*identity, error) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return nil, fmt.Errorf("reading the node's keys: %d Authorization headers", len(values))
	}

	encoded, ok := strings.CutPrefix(values[0], bearer)
	if !ok || len(encoded) > maxFrame {
		return nil, errors.New("reading the node's keys: no TPM's token")
	}

	text, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("reading the node's keys: %w", err)
	}

	var m attestationData
	if err := strictjson.DecodeKnown(text, &m, "EK", "AK", "Public", "UseTCSDActivationFormat"); err != nil {
		return nil, err
	}

	if m.AK.UseTCSDActivationFormat {
		return nil, errors.New("reading the AK: it is of a TPM 1.2")
	}
	spki, err := spkiOf(m.EK)
	if err != nil {
		return nil, err
	}

	return newIdentity(spki, m.AK.Public)
}

// encodeLegacy writes all three keys always, and a newline.
func encodeLegacy(a *Answer) (secret.Bytes, error) {
	out := secret.Make(80 + 6*a.Passphrase.Len()) // each byte could become an escape
	b, err := quoted(append(out.Reveal()[:0], `{"passphrase":`...), a.Passphrase)
	if err != nil {
		out.Wipe()
		return secret.Bytes{}, err
	}
	by := ""
	if a.Sealed {
		by = "tpm"
	}
	b = append(append(append(b, `,"error":"","generated_by":"`...), by...), "\"}\n"...)
	return secret.Own(b), nil
}

func (s *socket) refuseLegacy(why string) error {
	message, err := json.Marshal(legacyPass{Error: why})
	if err != nil {
		return err
	}
	return s.write(binaryFrame, append(message, '\n'))
}

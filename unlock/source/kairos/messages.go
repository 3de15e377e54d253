package kairos

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// text64 is bytes that travel as base64 (RFC 4648, section 4), in its one
// form.
type text64 []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *text64) UnmarshalText(text []byte) error {
	if bytes.ContainsAny(text, "\r\n") {
		return errors.New("base64 with a line break in it")
	}
	b, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	*t = b
	return err
}

// letters are the bytes of a JSON string.
type letters []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *letters) UnmarshalText(text []byte) error {
	*l = bytes.Clone(text)
	return nil
}

// akParameters is the attestation key as it travels: the names of Go fields.
type akParameters struct {
	Public                  []byte
	UseTCSDActivationFormat bool
	CreateData              []byte
	CreateAttestation       []byte
	CreateSignature         []byte
}

func parametersOf(k tpm.AttestationKey) akParameters {
	return akParameters{k.Public, false, k.CreateData, k.CreateAttestation, k.CreateSignature}
}

// hello is the first message of the new exchange.
type hello struct {
	EK    []byte       `json:"ek_public"`
	AK    akParameters `json:"ak_params"`
	Defer bool         `json:"defer_pcr_enrollment,omitempty"`
}

// credential is what only the TPM with both keys opens: two whole TPM2B.
type credential struct{ Credential, Secret text64 }

// proof is the third message.
type proof struct {
	Secret []byte   `json:"secret"`
	Quote  pcrQuote `json:"pcr_quote"`
}

type pcrQuote struct {
	Quote struct {
		Version   string `json:"version"`
		Quote     []byte `json:"quote"`
		Signature []byte `json:"signature"`
	} `json:"quote"`
	PCRs map[string][]byte `json:"pcrs"`
}

func quoteOf(q kms.Quote) (out pcrQuote) {
	out.Quote.Version, out.Quote.Quote, out.Quote.Signature = "2", q.Attest, q.Signature
	out.PCRs = map[string][]byte{}
	for _, v := range q.PCRs {
		out.PCRs[fmt.Sprint(v.Index)] = v.Value[:]
	}
	return out
}

// legacyPass is the passphrase of the legacy exchanges.
type legacyPass struct {
	Passphrase  letters `json:"passphrase"`
	Error       string  `json:"error"`
	GeneratedBy string  `json:"generated_by"`
}

// byTPM says that a passphrase is encrypted to a key of the machine's TPM.
const byTPM = "tpm"

// encode makes a message, with the line break that Go's encoder leaves.
func encode(m any) (secret.Bytes, error) {
	b, err := json.Marshal(m)
	return secret.Own(append(b, '\n')), err
}

// readChallenge reads the server's challenge: that of the new exchange is in
// "challenge", that of the legacy one in "EC".
func readChallenge(message secret.Bytes) (credential, error) {
	var m struct {
		Challenge credential `json:"challenge"`
		EC        credential
		Error     string `json:"error"`
	}
	if err := strictjson.DecodeKnown(message.Reveal(), &m, "challenge", "EC", "error", "Credential", "Secret"); err != nil {
		return credential{}, err
	}
	switch {
	case m.Error != "":
		return credential{}, refusal(m.Error)
	case len(m.Challenge.Credential) > 0:
		return m.Challenge, nil
	case len(m.EC.Credential) > 0:
		return m.EC, nil
	}
	return credential{}, errors.New("the server sent no challenge")
}

// readAnswer reads the new exchange's answer.
func readAnswer(message secret.Bytes) (secret.Bytes, error) {
	var m struct {
		Passphrase text64 `json:"passphrase"`
		Error      string `json:"error"`
	}
	if err := strictjson.DecodeKnown(message.Reveal(), &m, "passphrase", "error"); err != nil {
		return secret.Bytes{}, err
	}
	switch {
	case m.Error != "":
		clear(m.Passphrase)
		return secret.Bytes{}, refusal(m.Error)
	case len(m.Passphrase) == 0:
		return secret.Bytes{}, errors.New("the server's answer has no passphrase")
	}
	return secret.Own(m.Passphrase), nil
}

// readLegacy reads the legacy exchange's answer. Sealed is what the machine's
// TPM encrypted; never is it a passphrase.
func readLegacy(message secret.Bytes) (plain secret.Bytes, sealed []byte, err error) {
	var m legacyPass
	if err := strictjson.DecodeKnown(message.Reveal(), &m, "passphrase", "error", "generated_by"); err != nil {
		return secret.Bytes{}, nil, err
	}
	switch {
	case m.Error != "":
		clear(m.Passphrase)
		return secret.Bytes{}, nil, legacyRefusal(m.Error)
	case len(m.Passphrase) == 0:
		return secret.Bytes{}, nil, errors.New("the server's answer has no passphrase")
	case m.GeneratedBy != byTPM:
		return secret.Own(m.Passphrase), nil, nil
	}
	sealed, err = base64.RawURLEncoding.Strict().AppendDecode(nil, m.Passphrase)
	if err != nil {
		return secret.Bytes{}, nil, fmt.Errorf("reading an encrypted passphrase: %w", err)
	}
	return secret.Bytes{}, sealed, nil
}

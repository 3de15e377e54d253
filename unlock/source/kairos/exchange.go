package kairos

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"syscall"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
)

// Paths of the exchanges.
const (
	attestationPath = "/tpm-attestation"
	getPath         = "/getPass"
	postPath        = "/postPass"
)

// attest is the new exchange: keys, challenge, proof, passphrase.
func (c *Client) attest(ctx context.Context, r Request) (secret.Bytes, error) {
	lines, err := r.head()
	if err != nil {
		return secret.Bytes{}, err
	}
	if err := c.freshen(ctx); err != nil {
		return secret.Bytes{}, err
	}
	w, err := dial(ctx, c.Server, attestationPath, lines)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer w.Close()
	first, err := encode(hello{c.TPM.SPKI(), parametersOf(c.TPM.AK()), c.Live})
	if err == nil {
		err = w.write(textFrame, first)
	}
	if err != nil {
		return secret.Bytes{}, err
	}

	ch, err := w.challenge()
	if err != nil {
		return secret.Bytes{}, err
	}
	opened, quote, err := c.TPM.Prove(ctx, ch.Credential, ch.Secret)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer opened.Wipe()
	third, err := encode(proof{opened.Reveal(), quoteOf(quote)})
	if err == nil {
		err = w.write(textFrame, third)
	}
	if err != nil {
		return secret.Bytes{}, err
	}

	answer, err := w.read()
	if err != nil {
		return secret.Bytes{}, closedEarly(err)
	}
	defer answer.Wipe()
	return readAnswer(answer)
}

func (w *socket) challenge() (credential, error) {
	message, err := w.read()
	if err != nil {
		return credential{}, closedEarly(err)
	}
	defer message.Wipe()
	return readChallenge(message)
}

// closedEarly: a server that has nothing yet, or cannot answer, closes the
// connection.
func closedEarly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return codes.Fail(CodeWaiting, "the server closed the connection without an answer: the machine waits for approval there, or the volume has no passphrase yet; its log says which")
	}
	return err
}

// askLegacy is the older generation: getPass, and, where the server leaves the
// passphrase to the machine, postPass.
func (c *Client) askLegacy(ctx context.Context, r Request) (secret.Bytes, error) {
	p, err := c.getPass(ctx, r)
	if c.Generate == nil || !errors.Is(err, errNoSecret) {
		return p, c.failure(err)
	}
	if err := c.Generate(ctx, c, r); err != nil {
		return secret.Bytes{}, c.failure(err)
	}
	// What the server has is what will open the disk: it is asked for it.
	p, err = c.getPass(ctx, r)
	return p, c.failure(err)
}

func (c *Client) getPass(ctx context.Context, r Request) (secret.Bytes, error) {
	w, err := c.activate(ctx, getPath, r)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer w.Close()
	answer, err := w.read()
	if err != nil {
		return secret.Bytes{}, closedEarly(err)
	}
	defer answer.Wipe()
	plain, sealed, err := readLegacy(answer)
	if err != nil || sealed == nil {
		return plain, err
	}
	return c.TPM.Decrypt(ctx, sealed)
}

// activate connects for a legacy exchange, and opens the challenge on it.
func (c *Client) activate(ctx context.Context, path string, r Request) (*socket, error) {
	lines, err := r.head()
	if err != nil {
		return nil, err
	}
	if err := c.freshen(ctx); err != nil {
		return nil, err
	}
	c.spent = true
	keys, err := json.Marshal(struct {
		EK []byte
		AK akParameters
	}{pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: c.TPM.SPKI()}), parametersOf(c.TPM.AK())})
	if err != nil {
		return nil, err
	}

	bearer := "Authorization: Bearer TPM" + base64.StdEncoding.EncodeToString(keys)
	w, err := dial(ctx, c.Server, path, append([]string{bearer}, lines...))
	if err != nil {
		return nil, err
	}
	if err := c.open(ctx, w); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (c *Client) open(ctx context.Context, w *socket) error {
	ch, err := w.challenge()
	if err != nil {
		return err
	}
	opened, _, err := c.TPM.Prove(ctx, ch.Credential, ch.Secret)
	if err != nil {
		return err
	}
	defer opened.Wipe()
	message, err := encode(struct{ Secret []byte }{opened.Reveal()})
	if err != nil {
		return err
	}
	return w.write(binaryFrame, message)
}

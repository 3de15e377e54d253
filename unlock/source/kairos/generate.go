package kairos

import (
	"context"
	"encoding/base64"
	"errors"
	"io"

	"latchkey/internal/secret"
)

// Generator makes a passphrase and gives the server what the TPM encrypted.
func Generator(encrypt func(ctx context.Context, s secret.Bytes) ([]byte, error)) func(ctx context.Context, c *Client, r Request) error {
	return func(ctx context.Context, c *Client, r Request) error {
		made := secret.Passphrase()
		defer made.Wipe()
		sealed, err := encrypt(ctx, made)
		if err != nil {
			return err
		}
		return c.deposit(ctx, r, sealed)
	}
}

func (c *Client) deposit(ctx context.Context, r Request, sealed []byte) error {
	w, err := c.activate(ctx, postPath, r)
	if err != nil {
		return err
	}
	defer w.Close()
	message, err := encode(struct {
		Passphrase  string `json:"passphrase"`
		Error       string `json:"error"`
		GeneratedBy string `json:"generated_by"`
	}{base64.RawURLEncoding.EncodeToString(sealed), "", byTPM})
	if err == nil {
		err = w.write(textFrame, message)
	}
	if err != nil {
		return err
	}
	// Nothing comes back; the end says that the server is done.
	reply, err := w.read()
	reply.Wipe()
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

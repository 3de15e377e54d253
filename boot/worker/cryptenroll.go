package worker

import (
	"context"

	"latchkey/internal/secret"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/keyfile"
	"latchkey/unlock/source/prompt"
)

// stubSignatures is what systemd-stub takes out of a unified kernel image
// that has signatures of PCR 11 (systemd-stub(7)).
const stubSignatures = "/.extra/tpm2-pcr-signature.json"

// cryptenroll is the source of systemd's tokens.
func (w *worker) cryptenroll(o *openings, people *prompt.Prompt) *cryptenroll.TPM2 {
	t := &cryptenroll.TPM2{
		Allowed: w.plan.Systemd.Sealed, Parts: o.sealedParts,
		TPM: func(ctx context.Context) (cryptenroll.Unsealer, error) {
			if err := w.mayUseTPM(ctx); err != nil {
				return nil, err
			}
			return w.tpm()
		},
		Signatures: func() ([]byte, error) {
			file, err := w.sys.ReadKey(keyfile.Device{}, keyfile.File{Path: stubSignatures})
			return file.Reveal(), err
		},
		Log: w.log,
	}
	if w.plan.AsksForPIN() {
		t.Ask = func(ctx context.Context, q cryptenroll.Question) (secret.Bytes, error) {
			return people.Ask(ctx, q.String())
		}
	}
	return t
}

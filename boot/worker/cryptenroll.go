package worker

import (
	"context"

	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/keyfile"
)

// stubSignatures is what systemd-stub takes out of a unified kernel image
// that has signatures of PCR 11 (systemd-stub(7)).
const stubSignatures = "/.extra/tpm2-pcr-signature.json"

// cryptenroll is the source of systemd's tokens.
func (w *worker) cryptenroll(o *openings) *cryptenroll.TPM2 {
	return &cryptenroll.TPM2{
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
}

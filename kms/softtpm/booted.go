package softtpm

import (
	"context"

	"latchkey/kms"
)

// Booted is a TPM whose machine can show what its boot measured.
type Booted struct {
	*TPM
	Log   kms.BootLog
	Fails error // if it cannot
	Shown int   // how often it was asked
}

// BootLog implements kms.Witness.
func (b *Booted) BootLog(context.Context) (kms.BootLog, error) {
	b.Shown++
	return b.Log, b.Fails
}

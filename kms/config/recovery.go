package config

import (
	"strconv"

	"latchkey/internal/escrow"
)

// A Recovery says whom machines seal their recovery keys to; nobody: this
// server keeps none.
type Recovery struct {
	Recipients []string `yaml:"recipients"` // of age
}

func (r *Recovery) check() error {
	for i, text := range r.Recipients {
		if _, err := escrow.Recipients([]string{text}); err != nil {
			return faultf("recipients["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
	if _, err := escrow.Recipients(r.Recipients); err != nil {
		return faultf("recipients", "%w", err)
	}
	return nil
}

package config

import (
	"latchkey/kms/server/ekcert"
)

// An EK says which TPM vendors are trusted, for enrollment cert.
type EK struct {
	Roots string `yaml:"roots"` // folder of certificates and revocation lists

	Pool *ekcert.Pool `yaml:"-"` // read from Roots by check
}

func (e *EK) check() (err error) {
	if e.Roots == "" {
		return nil
	}
	if e.Pool, err = ekcert.Load(e.Roots); err != nil {
		return faultf("roots", "%w", err)
	}
	return nil
}

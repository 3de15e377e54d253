package main

import (
	"latchkey/kms/server"
	"latchkey/kms/server/ekcert"
)

// An ekSection says which TPM vendors are trusted, for enrollment cert.
type ekSection struct {
	Roots string `yaml:"roots"` // folder of certificates and revocation lists

	pool *ekcert.Pool
}

func (e *ekSection) check() (err error) {
	if e.Roots == "" {
		return nil
	}
	if e.pool, err = ekcert.Load(e.Roots); err != nil {
		return faultf("roots", "%w", err)
	}
	return nil
}

func (e *ekSection) apply(s *server.Server) { s.SetEKRoots(e.pool) }

package clevis

import (
	"encoding/json"
	"iter"
)

// A Server is one that a token names, and its key there.
type Server struct {
	URL        string `json:"url"`
	Thumbprint string `json:"thumbprint"`
}

// Check says why a token of type clevis opens nothing with these keys and
// sealed secrets allowed, and with or without TLS, whoever answers; nil if it
// may.
func Check(token json.RawMessage, tang, sealed []string, tls bool) error {
	_, err := (&Clevis{Allowed: tang, Sealed: sealed, TLS: tls}).judge(token)
	return err
}

// Servers lists the tang servers of a token of type clevis, those of shares
// too. What cannot be read is left out.
func Servers(token json.RawMessage) (all []Server) {
	for j := range messages(token) {
		if j.header.Clevis.Pin == "tang" {
			all = append(all, Server{j.header.Clevis.Tang.URL, j.header.Kid})
		}
	}
	return all
}

// Sealed lists the secrets in a token that are sealed to a TPM: SHA-256 of
// their public parts, in hex.
func Sealed(token json.RawMessage) (all []string) {
	for j := range messages(token) {
		if s := j.header.Clevis.TPM2; j.header.Clevis.Pin == "tpm2" {
			if _, err := s.sealed(); err == nil {
				all = append(all, s.digest())
			}
		}
	}
	return all
}

// messages are those of a token, less the ones that share others' keys.
func messages(token json.RawMessage) iter.Seq[*jwe] {
	return func(yield func(*jwe) bool) {
		if j, err := parseToken(token); err == nil {
			left := maxJWEs
			j.walk(maxDepth, &left, yield)
		}
	}
}

func (j *jwe) walk(depth int, left *int, yield func(*jwe) bool) bool {
	if *left--; *left < 0 {
		return false
	}
	if j.header.Clevis.Pin != "sss" {
		return yield(j)
	}
	if depth == 0 {
		return true
	}
	for _, text := range j.header.Clevis.SSS.JWE {
		if share, err := parseCompact(text); err == nil && !share.walk(depth-1, left, yield) {
			return false
		}
	}
	return true
}

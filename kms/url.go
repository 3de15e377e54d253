package kms

import (
	"fmt"

	"latchkey/internal/endpoint"
)

// An Endpoint is where a KMS is asked.
type Endpoint = endpoint.Endpoint

// ParseURL reads the URL of a KMS, strictly: http, a host, perhaps a port.
// lk1 needs no TLS, and no path, user, query or fragment has a meaning. An
// error has the code bad-url.
func ParseURL(s string) (Endpoint, error) {
	e, err := endpoint.ParseURL(s)
	if err != nil {
		return Endpoint{}, &Error{What: fmt.Sprintf("reading KMS URL %q", s), code: CodeBadURL, Err: err}
	}
	return e, nil
}

package plan

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// A TLS says how servers that are asked over TLS are known: by any of these.
type TLS struct {
	// CA are certificates, PEM, that sign those of servers; a server's own may
	// be one.
	CA []string `json:"ca,omitempty"`
	// Pins are keys of servers, as curl's --pinnedpubkey has them: "sha256//"
	// and the base64 of the SHA-256 of the SubjectPublicKeyInfo (RFC 7469,
	// section 2.4).
	Pins []string `json:"pins,omitempty"`
}

// A TLSServer is whom a connection over TLS is to.
type TLSServer struct {
	Host     string // a name or an address, as a URL has it
	Protocol string // of HTTP, to agree on: "http/1.1" or "h2" (RFC 7301)
	Trust    TLS
}

// Bounds of what is trusted.
const (
	maxCAs     = 8
	maxCABytes = 64 << 10 // of one, with all its certificates
	maxPins    = 16
)

// Any tells whether there is a server that is known.
func (t TLS) Any() bool { return len(t.CA)+len(t.Pins) > 0 }

// check looks at the form only: the certificates are read where the image is
// built, and by the init that has TLS.
func (t TLS) check(field string) error {
	if len(t.CA) > maxCAs || len(t.Pins) > maxPins {
		return fmt.Errorf("%s: ca has %d entries and pin %d, the limits are %d and %d", field, len(t.CA), len(t.Pins), maxCAs, maxPins)
	}
	for _, text := range t.CA {
		if !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----\n") || len(text) > maxCABytes {
			return fmt.Errorf("%s: ca: %.40q is no certificate in PEM, or has more than %d bytes", field, text, maxCABytes)
		}
	}
	for _, p := range t.Pins {
		text, ok := strings.CutPrefix(p, "sha256//")
		if raw, err := base64.StdEncoding.Strict().DecodeString(text); !ok || err != nil || len(raw) != 32 {
			return fmt.Errorf("%s: pin: %.80q is not sha256// and 44 letters of base64, as curl's --pinnedpubkey takes it (docs/sources.md)", field, p)
		}
	}
	return nil
}

// NeedsTLS tells whether the init with TLS is needed: a server may be asked
// over TLS, or the source kairos is listed, which only that one has.
func (p *Plan) NeedsTLS() bool {
	return p.NeedsTang() && p.Clevis.TLS.Any() || p.NeedsTalosKMS() && p.Talos.TLS.Any() || p.lists(SourceKairos)
}

package initramfs

import (
	"bytes"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/datafile"
	"latchkey/internal/plan"
)

// InitName is what the file is called that a plan needs as its init.
func InitName(p *plan.Plan) string {
	if p.NeedsTLS() {
		return "latchkey-init-tls"
	}
	return "latchkey-init"
}

// HasTLS tells whether an init has TLS: it is built with the tag tls.
func HasTLS(init []byte) bool {
	info, err := buildinfo.Read(bytes.NewReader(init))
	if err != nil {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			return slices.Contains(strings.Split(s.Value, ","), "tls")
		}
	}
	return false
}

// checkTLS refuses an init that cannot ask the servers of the plan.
func checkTLS(path string, init []byte, p *plan.Plan) error {
	if p.NeedsTLS() && !HasTLS(init) {
		return fmt.Errorf("the plan has servers that are asked over TLS, or the source kairos, and the init %s has no TLS: leave --init out, or give it the %s of make build", path, InitName(p))
	}
	return nil
}

// maxCA bounds a file of certificates with the text around them, in bytes.
const maxCA = 1 << 20

// readCAs reads certificates, each a file or PEM itself, and writes them as
// the plan has them: without the text that openssl puts around.
func (c *Config) readCAs(list []string) (certificates []string, err error) {
	for i, from := range list {
		text := []byte(from)
		if !strings.HasPrefix(from, "-----BEGIN") {
			if text, err = datafile.Read(c.at(from), maxCA); err != nil {
				return nil, fmt.Errorf("ca[%d]: %w", i, err)
			}
		}
		one, err := normalCA(text)
		if err != nil {
			return nil, fmt.Errorf("ca[%d]: %w", i, err)
		}
		certificates = append(certificates, one)
	}
	return certificates, nil
}

func normalCA(text []byte) (string, error) {
	var out strings.Builder
	for {
		b, rest := pem.Decode(text)
		if b == nil {
			break
		}
		if text = rest; b.Type != "CERTIFICATE" {
			return "", fmt.Errorf("there is a %.40q beside certificates, and the image can be read by others", b.Type)
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return "", fmt.Errorf("reading a certificate: %w", err)
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes}))
	}
	if out.Len() == 0 {
		return "", errors.New("it has no certificate in PEM")
	}
	return out.String(), nil
}

package kairos

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// DefaultSecret is the Secret that a partition's passphrase is in when its
// document names none: "<volume>-<label>", made safe for Kubernetes.
func DefaultSecret(volume, label string) string {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(volume+"-"+label))
	if len(name) <= 63 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:54] + "-" + hex.EncodeToString(sum[:4])
}

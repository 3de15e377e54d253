package plan

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// maxSealed bounds the sealed secrets of a plan.
const maxSealed = 32

// SystemdTPM2 says which tokens of systemd-cryptenroll may open volumes.
type SystemdTPM2 struct {
	// Sealed are SHA-256 of the public parts of sealed secrets, in hex.
	Sealed []string `json:"sealed,omitempty"`
	// PIN allows that people are asked for the PIN of a token.
	PIN bool `json:"pin,omitempty"`
}

func (p *Plan) checkSystemd() error {
	if n := len(p.Systemd.Sealed); n > maxSealed {
		return fmt.Errorf("%s: sealed has %d entries, the limit is %d", SourceSystemd, n, maxSealed)
	}
	for _, s := range p.Systemd.Sealed {
		if raw, err := hex.DecodeString(s); err != nil || len(raw) != 32 || strings.ToLower(s) != s {
			return fmt.Errorf("%s: sealed: %.80q is not 64 hex digits: latchkey volume inspect DEVICE prints them", SourceSystemd, s)
		}
	}
	for i, v := range p.Volumes {
		prompt, tpm := slices.Index(v.Sources, SourcePrompt), slices.IndexFunc(v.Sources, func(s string) bool { return slices.Contains(p.Members(s), SourceSystemd) })
		if p.Systemd.PIN && prompt >= 0 && (tpm < 0 || tpm > prompt) {
			return fmt.Errorf("volumes[%d]: sources: prompt asks at the console without end, and a PIN is to be asked for there: with pin: true list %s before it", i, SourceSystemd)
		}
		if p.needsSealed(v) && len(p.Systemd.Sealed) == 0 {
			return fmt.Errorf("volumes[%d]: %s needs to know the volume: %s: {sealed: [HEX]}, or digest: HEX (latchkey volume inspect DEVICE prints both)", i, SourceSystemd, SourceSystemd)
		}
	}
	return nil
}

package plan

import (
	"fmt"
	"strings"
)

// clevisWords says by what a token of clevis opens.
func clevisWords(c Clevis) string {
	var by []string
	if n := len(c.Tang); n > 0 {
		by = append(by, fmt.Sprintf("one of %d tang key(s)", n))
	}
	if n := len(c.Sealed); n > 0 {
		by = append(by, fmt.Sprintf("one of %d sealed secret(s)", n))
	}
	return "a token of clevis with " + strings.Join(by, " or ")
}

// recipeWords says what opens a volume together: none of it does alone.
func recipeWords(p *Plan, r Recipe) string {
	var ways []string
	for _, way := range r.Ways {
		var parts []string
		for _, s := range way {
			words := sourceWords(p, s)
			if s == SourceSystemd {
				words = "a secret that the TPM keeps"
			}
			parts = append(parts, words)
		}
		ways = append(ways, strings.Join(parts, " together with "))
	}
	return strings.Join(ways, ", or ")
}

func sourceWords(p *Plan, source string) string {
	if r, ok := p.Recipe(source); ok {
		return recipeWords(p, r)
	}
	switch source {
	case SourceKMS:
		return "the key server"
	case SourcePush:
		return "a passphrase that a person pushes by the key server"
	case SourcePrompt:
		return "a passphrase typed at the console"
	case SourceClevis:
		return clevisWords(p.Clevis)
	case SourceKairos:
		return kairosWords(p.Kairos)
	}
	switch source {
	case SourceSystemd:
		if p.Systemd.PIN {
			return "the TPM by a token of systemd-cryptenroll, with a PIN typed at the console if the token wants one,"
		}
		return "the TPM by a token of systemd-cryptenroll"
	case SourceTalosTPM:
		return "the TPM by a token of Talos"
	case SourceTalosKMS:
		return "a KMS of Talos"
	case SourceTalosNode:
		return "what Talos makes of this machine's UUID"
	}
	f, _ := p.KeyFile(source)
	return f.String()
}

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

func sourceWords(p *Plan, source string) string {
	switch source {
	case SourceKMS:
		return "the key server"
	case SourcePrompt:
		return "a passphrase typed at the console"
	case SourceClevis:
		return clevisWords(p.Clevis)
	case SourceKairos:
		return kairosWords(p.Kairos)
	}
	switch source {
	case SourceSystemd:
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

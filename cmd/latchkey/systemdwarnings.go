package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
	"latchkey/unlock/source/cryptenroll"
)

// systemdWarnings names volumes of this machine that the plan's source
// systemd-tpm2 cannot open, and why, as clevisWarnings does.
func systemdWarnings(dir string, p *plan.Plan) (list []string) {
	for _, v := range p.Volumes {
		if !slices.Contains(v.Sources, plan.SourceSystemd) {
			continue
		}
		path := filepath.Join(dir, v.UUID)
		f, h, err := readVolume(path)
		if err != nil {
			continue
		}
		f.Close()
		var why []string
		usable := false
		for _, t := range h.Tokens() {
			if t.Type != cryptenroll.TokenType || len(t.Keyslots) == 0 {
				continue
			}
			err := cryptenroll.Check(t.JSON, p.Systemd.Sealed, v.Digest != "")
			if usable = usable || err == nil; err != nil {
				why = append(why, fmt.Sprintf("token %d: %v", t.ID, err))
			}
		}
		switch {
		case usable:
		case len(why) == 0:
			list = append(list, fmt.Sprintf("volume %s: %s has no token of type %s: latchkey volume enroll-tpm makes one", v.Name, path, cryptenroll.TokenType))
		default:
			list = append(list, fmt.Sprintf("volume %s: the source %s will not open %s: %s; latchkey volume inspect %s prints what sources needs", v.Name, plan.SourceSystemd, path, strings.Join(why, "; "), path))
		}
	}
	return list
}

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
	"latchkey/unlock/source/clevis"
	"latchkey/unlock/source/cryptenroll"
)

// byUUID is where this machine's volumes are found: udev's links, as the
// plan spells their UUIDs.
const byUUID = "/dev/disk/by-uuid"

// tokenSources are the sources that open volumes by tokens that others made.
var tokenSources = []struct {
	source, token string
	missing       string // what is said if a volume has no such token
	check         func(p *plan.Plan, v plan.Volume, token json.RawMessage) error
}{
	{
		plan.SourceClevis, "clevis", "has no token of clevis: clevis luks bind makes one",
		func(p *plan.Plan, _ plan.Volume, token json.RawMessage) error {
			return clevis.Check(token, p.Clevis.Tang, p.Clevis.Sealed)
		},
	},
	{
		plan.SourceSystemd, cryptenroll.TokenType, "has no token of type " + cryptenroll.TokenType + ": latchkey volume enroll-tpm makes one",
		func(p *plan.Plan, v plan.Volume, token json.RawMessage) error {
			return cryptenroll.Check(token, p.Systemd.Sealed, v.Digest != "")
		},
	},
}

// tokenWarnings names volumes of this machine that a source of the plan
// cannot open by their tokens, and why. A volume that is not here, or that
// only root may read, is passed over.
func tokenWarnings(dir string, p *plan.Plan) (list []string) {
	for _, kind := range tokenSources {
		for _, v := range p.Volumes {
			if !slices.Contains(v.Sources, kind.source) {
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
				if t.Type != kind.token || len(t.Keyslots) == 0 {
					continue
				}
				err := kind.check(p, v, t.JSON)
				if usable = usable || err == nil; err != nil {
					why = append(why, fmt.Sprintf("token %d: %v", t.ID, err))
				}
			}
			switch {
			case usable:
			case len(why) == 0:
				list = append(list, fmt.Sprintf("volume %s: %s %s", v.Name, path, kind.missing))
			default:
				list = append(list, fmt.Sprintf("volume %s: the source %s will not open %s: %s; latchkey volume inspect %s prints what sources needs", v.Name, kind.source, path, strings.Join(why, "; "), path))
			}
		}
	}
	return list
}

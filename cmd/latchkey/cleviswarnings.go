package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
	"latchkey/unlock/source/clevis"
)

// byUUID is where this machine's volumes are found: udev's links, as the
// plan spells their UUIDs.
const byUUID = "/dev/disk/by-uuid"

// clevisWarnings names volumes of this machine that the plan's source clevis
// cannot open, and why. A volume that is not here, or that only root may
// read, is passed over.
func clevisWarnings(dir string, p *plan.Plan) (list []string) {
	for _, v := range p.Volumes {
		if !slices.Contains(v.Sources, plan.SourceClevis) {
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
			if t.Type != "clevis" || len(t.Keyslots) == 0 {
				continue
			}
			err := clevis.Check(t.JSON, p.Clevis.Tang, p.Clevis.Sealed)
			if usable = usable || err == nil; err != nil {
				why = append(why, fmt.Sprintf("token %d: %v", t.ID, err))
			}
		}
		switch {
		case usable:
		case len(why) == 0:
			list = append(list, fmt.Sprintf("volume %s: %s has no token of clevis: clevis luks bind makes one", v.Name, path))
		default:
			list = append(list, fmt.Sprintf("volume %s: the source clevis will not open %s: %s; latchkey volume inspect %s prints what sources needs", v.Name, path, strings.Join(why, "; "), path))
		}
	}
	return list
}

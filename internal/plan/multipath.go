package plan

import (
	"fmt"

	"latchkey/internal/mapping"
)

// A Multipath is a disk with several paths.
type Multipath struct {
	WWID string `json:"wwid"` // what multipathd knows it by
	Name string `json:"name"` // of its mapping
}

// maxMultipath is how many disks a plan may name.
const maxMultipath = 64

// PathsOf is what the mapping of a disk with several paths is called; ok is
// false if the plan knows no such disk.
func (p *Plan) PathsOf(wwid string) (name string, ok bool) {
	for _, m := range p.Multipath {
		if wwid != "" && m.WWID == wwid {
			return m.Name, true
		}
	}
	return "", false
}

func (p *Plan) checkMultipath() error {
	if len(p.Multipath) > maxMultipath {
		return fmt.Errorf("multipath names %d disks, the limit is %d", len(p.Multipath), maxMultipath)
	}
	seen := map[string]bool{}
	for _, v := range p.Volumes {
		seen[v.Name] = true
	}
	for _, m := range p.Multipath {
		if m.WWID == "" || len(m.WWID) > 112 {
			return fmt.Errorf("multipath: %.120q cannot be a WWID", m.WWID)
		}
		if err := mapping.CheckName(mapping.PartName(m.Name, 128)); err != nil {
			return fmt.Errorf("multipath: %w", err)
		}
		if seen[m.Name] || seen[m.WWID] {
			return fmt.Errorf("multipath: two mappings or disks are called %s or %s", m.Name, m.WWID)
		}
		seen[m.Name], seen[m.WWID] = true, true
	}
	return nil
}

// multipathHint is rd.multipath= of dracut.cmdline(7). "default" there is a
// configuration of multipathd's; here there is none to choose.
func multipathHint(p *Plan, a Arg) string {
	if a.Value == "default" {
		return "disks with several paths are recognized without a configuration"
	}
	on, err := parseBool(a)
	if err != nil {
		return err.Error()
	}
	p.NoPaths = !on
	return ""
}

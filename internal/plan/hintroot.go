package plan

import (
	"slices"
	"strings"

	"latchkey/internal/mapping"
)

// rootHint chooses the root among the volumes of the image.
func rootHint(p *Plan, a Arg) string {
	p.Root.Device = strings.TrimPrefix(a.Value, "block:") // dracut's long form of a device
	if a.Value == "" {
		p.Root.Device = "nothing"
	}
	return ""
}

func fstypeHint(p *Plan, a Arg) string {
	p.Root.FSType = a.Value
	if a.Value == "auto" { // mount(8): to be recognized
		p.Root.FSType = ""
	}
	return ""
}

func flagsHint(p *Plan, a Arg) string {
	p.Root.Flags = a.Value
	return ""
}

func modeHint(p *Plan, a Arg) string {
	p.Root.ReadWrite = a.Key == "rw"
	return ""
}

func initHint(p *Plan, a Arg) string {
	p.Root.Init = a.Value
	if a.Value == "" {
		return "names no program; the image's choice stays"
	}
	return ""
}

// maxLogical is how many options may name logical volumes.
const maxLogical = 64

// logicalHint has logical volumes mapped besides the root's, or none:
// rd.lvm=, rd.lvm.vg= and rd.lvm.lv= of dracut.cmdline(7).
func logicalHint(p *Plan, a Arg) string {
	if a.Is("rd.lvm") {
		on, err := parseBool(a)
		if err != nil {
			return err.Error()
		}
		p.Root.NoLogical = !on
		return ""
	}

	group, volume, both := strings.Cut(a.Value, "/")
	if both != a.Is("rd.lvm.lv") || !mapping.IsLVMName(group) || both && !mapping.IsLVMName(volume) {
		return "want rd.lvm.vg=GROUP or rd.lvm.lv=GROUP/VOLUME"
	}
	if len(p.Logical) >= maxLogical {
		return "not used: there are too many of these"
	}
	if !slices.Contains(p.Logical, a.Value) {
		p.Logical = append(p.Logical, a.Value)
	}
	return ""
}

package plan

import (
	"slices"
	"strings"
)

// loadOptions name modules to load: dracut, systemd-modules-load(8),
// mkinitcpio's earlymodules= and Alpine's modules=.
var loadOptions = []string{"rd.modules_load", "modules_load", "rd.driver.pre", "rd.driver.post", "earlymodules", "modules"}

// blockOptions name modules that are never loaded: dracut, the kernel,
// modprobe(8) and initramfs-tools.
var blockOptions = []string{"rd.driver.blacklist", "module_blacklist", "modprobe.blacklist", "blacklist"}

func loadHint(p *Plan, a Arg) string {
	good, bad := moduleNames(a.Value)
	for _, m := range good {
		if !slices.Contains(p.Modules.Always, m) {
			p.Modules.Always = append(p.Modules.Always, m)
		}
	}
	return bad
}

// blockHint takes no module away that every volume needs.
func blockHint(p *Plan, a Arg) string {
	good, bad := moduleNames(a.Value)
	var kept []string
	for _, m := range good {
		needed := slices.ContainsFunc(p.Modules.Always, func(n string) bool { return ModuleName(n) == ModuleName(m) })
		switch {
		case needed:
			kept = append(kept, m)
		case !slices.Contains(p.Modules.Blocked, m):
			p.Modules.Blocked = append(p.Modules.Blocked, m)
		}
	}

	switch {
	case len(kept) == 0 || bad != "":
	case a.Is("module_blacklist"): // kernel/module/main.c: finit_module(2) gives EPERM
		bad = "the kernel itself refuses " + strings.Join(kept, ", ") + ", and no volume opens without: remove this option"
	default:
		bad = "the image needs " + strings.Join(kept, ", ") + " to open its volumes; loaded all the same"
	}
	return bad
}

// moduleNames reads a list with commas, or colons as mkinitcpio writes it.
func moduleNames(list string) (good []string, bad string) {
	for m := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ':' }) {
		if !isModuleName(m) {
			bad = "not the name of a module: " + m
			continue
		}
		good = append(good, m)
	}
	return good, bad
}

// maxModuleName is MODULE_NAME_LEN of linux/moduleparam.h on 64 bits, less
// the final zero.
const maxModuleName = 55

func isModuleName(s string) bool {
	return s != "" && len(s) <= maxModuleName && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

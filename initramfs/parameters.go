package initramfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/plan"
)

// parameters puts modules.parameters into the index: MODULE.PARAM=VALUE, as
// on the kernel command line, for modules that the image has.
func (k *kernel) parameters(index *plan.Modules, words []string) error {
	for i, word := range words {
		module, rest, ok := strings.Cut(word, ".")
		var err error
		switch {
		case !ok || rest == "" || strings.HasPrefix(rest, "=") || strings.ContainsAny(word, " \t\n\""):
			err = errors.New("want MODULE.PARAM=VALUE, as on the kernel command line")
		case k.builtin[plan.ModuleName(module)]:
			err = fmt.Errorf("%s is built into the kernel: only the kernel command line reaches it", module)
		case index.Find(module) < 0:
			err = fmt.Errorf("%s is not in the image: name it in modules.add", module)
		}
		if err != nil {
			return fmt.Errorf("modules.parameters[%d] %q: %w", i, word, err)
		}
	}
	index.Configure(strings.Join(words, " "))
	return nil
}

// unapplied warns of the modules of an image for any machine to which this
// host's modprobe.d has something to say: it does not reach the image.
func (m *modprobe) unapplied(index *plan.Modules) (warnings []string) {
	var names []string
	for _, mod := range index.List {
		if n := mod.Name(); len(m.params[n]) > 0 || m.blacklist[n] || m.never[n] {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []string{fmt.Sprintf("this host's modprobe.d is not applied to an image for any machine (%s): set modules.set: host, or modules.parameters", strings.Join(names, ", "))}
}

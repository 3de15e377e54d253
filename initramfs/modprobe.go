package initramfs

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
	"latchkey/internal/rootdir"
)

// ModprobeDirs are where modprobe.d(5) has its files, below a root directory;
// a file hides those of the same name in the folders after it.
func ModprobeDirs(root string) (dirs []string) {
	for _, dir := range []string{"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"} {
		dirs = append(dirs, rootdir.Path(cmp.Or(root, "/"), dir))
	}
	return dirs
}

// A modprobe is what the host's administrator says of modules.
type modprobe struct {
	params    map[string][]string // name → "param=value"
	blacklist map[string]bool     // not loaded for a device, only by name
	never     map[string]bool     // "install NAME /bin/false"
}

// readModprobe reads the .conf files of the folders in the order of
// modprobe.d(5): by name, each name once.
func readModprobe(root string, dirs []string) (*modprobe, error) {
	m := &modprobe{params: map[string][]string{}, blacklist: map[string]bool{}, never: map[string]bool{}}
	files := map[string]string{}
	for _, dir := range dirs {
		found, err := filepath.Glob(filepath.Join(dir, "*.conf"))
		if err != nil {
			return nil, fmt.Errorf("reading modprobe.d: %w", err)
		}
		for _, f := range found {
			if _, hidden := files[filepath.Base(f)]; !hidden {
				files[filepath.Base(f)] = f
			}
		}
	}

	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := m.file(rootdir.Follow(root, files[name])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading modprobe.d: %w", err)
		}
	}
	return m, nil
}

func (m *modprobe) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()

	text := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		if line, more := strings.CutSuffix(s.Text(), `\`); more {
			text += line + " "
			continue
		}
		m.line(strings.Fields(text + s.Text()))
		text = ""
	}
	return nil
}

func (m *modprobe) line(f []string) {
	if len(f) < 2 {
		return
	}
	name := plan.ModuleName(f[1])
	switch f[0] {
	case "options":
		m.params[name] = append(m.params[name], f[2:]...)
	case "blacklist":
		m.blacklist[name] = true
	case "install":
		program := filepath.Base(slices.Concat(f, []string{"", ""})[2])
		m.never[name] = program == "false" || program == "true"
	}
}

// apply puts the administrator's words into the index: parameters, and no
// device aliases of modules that are on the black list.
func (m *modprobe) apply(index *plan.Modules) {
	for i := range index.List {
		index.List[i].Params = strings.Join(m.params[index.List[i].Name()], " ")
	}
	index.Aliases = slices.DeleteFunc(index.Aliases, func(a plan.Alias) bool { return m.blacklist[index.List[a.Module].Name()] })
}

package plan

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ModulesFile is where the image keeps the index of its modules.
const ModulesFile = "/modules.idx"

// maxModules caps the index: a universal image of a large kernel has some
// thousand.
const maxModules = 20000

// Modules is the index of the kernel modules in the image: which there
// are, what each needs first, and which device each serves.
type Modules struct {
	List    []Module
	Aliases []Alias
	Blocks  []Block // what seldom loaded modules are in
}

// A Module is one .ko file, uncompressed, in the image, or a part of a block.
type Module struct {
	Path string // absolute, in the image
	Deps []int  // loaded before it: indexes in List, lower than its own
	Soft []int  // likewise, if they can be loaded (softdep pre)
	// Params is what modprobe.d(5) and the command line give it, in the form
	// that finit_module(2) takes.
	Params string
	Part   Part // of a block, if it is in one
}

// An Alias is a pattern of modalias strings (modules.alias: "*", "?" and
// "[…]" as in glob) and the module that serves them.
type Alias struct {
	Pattern string
	Module  int
}

// Name is the module's name as the kernel knows it.
func (m Module) Name() string { return ModuleName(m.Path) }

// ModuleName makes a module name of a file or a name: no folder, no
// suffix, "_" for "-".
func ModuleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// Find is the index of the module called name, or -1.
func (m *Modules) Find(name string) int {
	name = ModuleName(name)
	for i := range m.List {
		if m.List[i].Name() == name {
			return i
		}
	}
	return -1
}

// Match lists the modules that serve a device with this modalias, in the
// order of the index.
func (m *Modules) Match(modalias string) []int {
	var found []int
	for _, a := range m.Aliases {
		// The literal head decides most patterns without a glob.
		head, _, _ := strings.Cut(a.Pattern, "*")
		if i := strings.IndexAny(head, "?["); i >= 0 {
			head = head[:i]
		}
		if !strings.HasPrefix(modalias, head) {
			continue
		}
		if ok, err := path.Match(a.Pattern, modalias); ok && err == nil {
			found = append(found, a.Module)
		}
	}
	return found
}

// Encode writes the index: a line "m PATH DEPS SOFT" for each module,
// numbers separated by commas and "-" for none, "p MODULE PARAMS" if it has
// parameters, and "a MODULE PATTERN" for each alias. Lines of blocks are
// those of encodeBlocks.
func (m *Modules) Encode() []byte {
	var b bytes.Buffer
	for i, mod := range m.List {
		fmt.Fprintf(&b, "m %s %s %s\n", mod.Path, encodeInts(mod.Deps), encodeInts(mod.Soft))
		if mod.Params != "" {
			fmt.Fprintf(&b, "p %d %s\n", i, mod.Params)
		}
	}
	for _, a := range m.Aliases {
		fmt.Fprintf(&b, "a %d %s\n", a.Module, a.Pattern)
	}
	m.encodeBlocks(&b)
	return b.Bytes()
}

// DecodeModules reads what Encode wrote.
func DecodeModules(file []byte) (*Modules, error) {
	m := &Modules{}
	for n, line := range strings.Split(strings.TrimSuffix(string(file), "\n"), "\n") {
		if line == "" {
			continue
		}
		if err := m.decodeLine(line); err != nil {
			return nil, fmt.Errorf("reading line %d of %s: %w (build the image again)", n+1, ModulesFile, err)
		}
	}

	for i, mod := range m.List {
		for _, d := range slices.Concat(mod.Deps, mod.Soft) {
			if d >= i { // so no module waits for itself
				return nil, fmt.Errorf("reading %s: %s needs module %d, which does not come before it (build the image again)", ModulesFile, mod.Path, d)
			}
		}
	}

	return m, nil
}

func (m *Modules) decodeLine(line string) error {
	f := strings.Split(line, " ")
	switch {
	case f[0] == "m" && len(f) == 4 && len(m.List) < maxModules:
		deps, err := decodeInts(f[2])
		if err != nil {
			return err
		}
		soft, err := decodeInts(f[3])
		if err != nil {
			return err
		}
		m.List = append(m.List, Module{Path: f[1], Deps: deps, Soft: soft})
	case f[0] == "a" && len(f) == 3:
		n, err := strconv.Atoi(f[1])
		if err != nil || n < 0 || n >= len(m.List) {
			return fmt.Errorf("no module %q", f[1])
		}
		m.Aliases = append(m.Aliases, Alias{f[2], n})
	case f[0] == "p" && len(f) >= 3:
		n, err := strconv.Atoi(f[1])
		if err != nil || n < 0 || n >= len(m.List) {
			return fmt.Errorf("no module %q", f[1])
		}
		m.List[n].Params = strings.Join(f[2:], " ")
	case f[0] == "b" || f[0] == "z":
		return m.decodeBlock(f)
	default:
		return fmt.Errorf("not a module or an alias: %.80q", line)
	}
	return nil
}

// Configure adds the parameters that the kernel command line has for modules
// of the index, MODULE.PARAM=VALUE, after those of the image: the last one
// counts (Documentation/admin-guide/kernel-parameters.rst).
func (m *Modules) Configure(cmdline string) {
	args, err := SplitCmdline(cmdline)
	if err != nil {
		return
	}
	for _, a := range args {
		module, param, ok := strings.Cut(a.Key, ".")
		if !ok || param == "" || strings.ContainsAny(a.Key, " \t\"") {
			continue
		}
		i := m.Find(module)
		if i < 0 {
			continue
		}
		if a.HasValue {
			param += "=" + a.Value
		}
		if strings.ContainsAny(a.Value, " \t") {
			param = `"` + param + `"`
		}
		m.List[i].Params = strings.TrimLeft(m.List[i].Params+" "+param, " ")
	}
}

func encodeInts(list []int) string {
	if len(list) == 0 {
		return "-"
	}
	text := make([]string, len(list))
	for i, n := range list {
		text[i] = strconv.Itoa(n)
	}
	return strings.Join(text, ",")
}

func decodeInts(text string) ([]int, error) {
	if text == "-" {
		return nil, nil
	}
	var list []int
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n >= maxModules {
			return nil, fmt.Errorf("not a module number: %q", word)
		}
		list = append(list, n)
	}
	return list, nil
}

package initramfs

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"latchkey/internal/plan"
	"latchkey/internal/rootdir"
)

// A kernel is what depmod(8) wrote about the modules of one version.
type kernel struct {
	root    string              // of the system that it is of
	dir     string              // …/lib/modules/VERSION
	deps    map[string][]string // file → files it needs, direct and indirect
	byName  map[string]string   // name → file
	builtin map[string]bool     // names
	alias   []aliasLine         // in file order
	soft    map[string][]string // name → names or aliases wanted before it
	machine elf.Machine         // that its modules are for
}

type aliasLine struct{ pattern, name string }

// readKernel reads modules.dep, .builtin, .alias and .softdep.
func readKernel(root, dir string) (*kernel, error) {
	k := &kernel{root: root, dir: dir, deps: map[string][]string{}, byName: map[string]string{}, builtin: map[string]bool{}, soft: map[string][]string{}}
	err := errors.Join(
		k.lines("modules.dep", func(f []string) {
			file := strings.TrimSuffix(f[0], ":")
			k.deps[file] = f[1:]
			if name := plan.ModuleName(file); depmodOrder(file) >= depmodOrder(k.byName[name]) {
				k.byName[name] = file
			}
		}),
		k.lines("modules.builtin", func(f []string) { k.builtin[plan.ModuleName(f[0])] = true }),
		k.lines("modules.alias", func(f []string) {
			if f[0] == "alias" && len(f) == 3 {
				k.alias = append(k.alias, aliasLine{f[1], f[2]})
			}
		}),
		k.lines("modules.softdep", func(f []string) {
			if f[0] != "softdep" || len(f) < 3 {
				return
			}
			pre := true // a word without "pre:" or "post:" counts as pre
			for _, w := range f[2:] {
				switch {
				case w == "pre:" || w == "post:":
					pre = w == "pre:"
				case pre:
					name := plan.ModuleName(f[1])
					k.soft[name] = append(k.soft[name], w)
				}
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("reading what depmod knows of the kernel: %w (run depmod, or give --modules the folder that holds modules.dep)", err)
	}

	k.machine, err = k.readMachine()
	return k, err
}

// depmodOrder ranks the folders of a module as depmod.d(5) does without
// configuration: of two with one name the higher counts.
func depmodOrder(file string) int {
	dir, _, _ := strings.Cut(file, "/")
	return slices.Index([]string{"", "weak-updates", "kernel", "extra", "updates"}, dir)
}

// readMachine tells what machine the modules are for, from any of them; 0 if
// there is none.
func (k *kernel) readMachine() (elf.Machine, error) {
	for _, file := range k.byName {
		data, err := k.read(file)
		if err != nil {
			return 0, fmt.Errorf("reading module %s: %w", file, err)
		}
		if f, err := elf.NewFile(bytes.NewReader(data)); err == nil {
			return f.Machine, nil
		}
	}
	return 0, nil
}

// at is where a file of the kernel's is.
func (k *kernel) at(name string) string { return rootdir.Follow(k.root, filepath.Join(k.dir, name)) }

func (k *kernel) lines(name string, each func(fields []string)) error {
	f, err := os.Open(k.at(name))
	if errors.Is(err, fs.ErrNotExist) && name != "modules.dep" {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if fields := strings.Fields(s.Text()); len(fields) > 0 && fields[0][0] != '#' {
			each(fields)
		}
	}

	return s.Err()
}

// resolve finds the modules that a name or an alias stands for: none if it
// is built in, or if the kernel has no such thing.
func (k *kernel) resolve(word string) []string {
	name := plan.ModuleName(word)
	if _, ok := k.byName[name]; ok {
		return []string{name}
	}
	var found []string
	for _, a := range k.alias {
		if a.pattern == word || a.pattern == "crypto-"+word || plan.ModuleName(a.pattern) == name {
			if n := plan.ModuleName(a.name); !slices.Contains(found, n) {
				found = append(found, n)
			}
		}
	}
	return found
}

// read returns a module's bytes, decompressed: the init hands files to
// finit_module(2) as they are, and the archive compresses better so.
func (k *kernel) read(file string) ([]byte, error) {
	raw, err := os.ReadFile(k.at(file))
	if err != nil {
		return nil, err
	}

	if filepath.Ext(file) == ".ko" {
		return raw, nil
	}
	data, err := decompress(file, raw)
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", file, err)
	}
	return data, nil
}

// decompress undoes what the suffix of a file's name says.
func decompress(file string, raw []byte) ([]byte, error) {
	var r io.Reader
	var err error
	switch filepath.Ext(file) {
	case ".zst":
		z, err := zstd.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z

	case ".xz":
		r, err = xz.NewReader(bytes.NewReader(raw))
	case ".gz":
		r, err = gzip.NewReader(bytes.NewReader(raw))
	default:
		return nil, fmt.Errorf("%s is not known", filepath.Ext(file))
	}
	if err != nil {
		return nil, err
	}

	return io.ReadAll(r)
}

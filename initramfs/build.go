package initramfs

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/hosttab"
	"latchkey/internal/plan"
)

// Options says what Build makes an image of. All are required but
// Firmware, Microcode and Host.
type Options struct {
	Config    *Config
	Modules   string       // folder of one kernel version, holds modules.dep
	Init      string       // the latchkey-init binary
	Firmware  []string     // folders to look for firmware in, the first hit counts
	Microcode []string     // folders that hold intel-ucode/ and amd-ucode/
	Modprobe  []string     // modprobe.d folders, read for modules.set: host
	Level     int          // zstd level, 1 to 22; 0 is 19
	Host      hosttab.Host // this machine; another root directory in tests
	// Compressors are the programs that compress; nil: the libraries do.
	Compressors *Compressors
	// Ciphers tells which ciphers a volume has whose plan says accept:
	// cryptsetup; nil, or an empty list, stands for all that are accepted.
	Ciphers func(uuid string) []string
}

// A Result is what Build made, for the log and for tests.
type Result struct {
	Plan     *plan.Plan
	Modules  int
	InBlocks int      // of the modules: what few machines load
	Missing  []string // firmware files that modules name and no folder has
	Warnings []string // what is allowed and doubtful
	// Compressed says by what the image is.
	Compressed string
	Unpacked   int64 // size in memory, in bytes
}

// Build writes the image to w. The same inputs give the same bytes.
func Build(w io.Writer, o Options) (*Result, error) {
	o.Level = cmp.Or(o.Level, bestLevel)
	o.Compressors = cmp.Or(o.Compressors, &Compressors{})
	p, err := o.Config.Plan()
	if err != nil {
		return nil, err
	}

	multipaths(p, o.Host)
	init, k, err := o.programs(p)
	if err != nil {
		return nil, err
	}

	a := newArchive()
	res, err := o.addDrivers(a, k, p, loadsBlocks(init))
	if err != nil {
		return nil, err
	}

	doubtful, err := addKeys(a, o.Config, p)
	if err != nil {
		return nil, o.Config.locate(err)
	}
	res.Warnings = append(res.Warnings, doubtful...)
	if err := addHeaders(a, o.Config, p); err != nil {
		return nil, o.Config.locate(err)
	}

	planFile, err := p.Encode()
	if err != nil {
		return nil, err
	}

	a.file("init", init, 0o755)
	a.file("plan.json", planFile, 0o644)
	res.Unpacked = a.mark()
	if !hasBoards(k.machine) { // microcode is x86's
		if err := microcode(w, o.Host.Root, o.Microcode); err != nil {
			return nil, err
		}
	}

	if err := a.write(w, o.Compressors, o.Level); err != nil {
		return nil, err
	}
	res.Compressed = o.Compressors.words(o.Level)
	res.Warnings = append(res.Warnings, o.Compressors.Warnings()...)
	return res, nil
}

// addDrivers puts the modules that the plan and the configuration need into
// the archive, in blocks what an init that can loads from there, and their
// index.
func (o Options) addDrivers(a *archive, k *kernel, p *plan.Plan, inBlocks bool) (*Result, error) {
	chosen, err := k.choose(o.Config.Modules, p, o.Host, o.cipherWords(p))
	if err != nil {
		return nil, o.Config.locate(err)
	}
	index, unapplied, err := k.index(o, chosen)
	if err != nil {
		return nil, err
	}
	p.Modules.Always = alwaysLoaded(k, index, slices.Concat(o.cipherWords(p), o.Config.Modules.Add))

	res := &Result{Plan: p, Modules: len(index.List), Warnings: unapplied}
	res.Warnings = append(res.Warnings, k.arrayWarnings(p, index, o.Host)...)
	res.Warnings = append(res.Warnings, k.pathWarnings(p, index)...)
	var seldom []bool
	if inBlocks {
		seldom = k.seldom(o.Config.Modules, p, index, o.cipherWords(p))
	}
	if res.Missing, err = o.addModules(a, k, index, seldom); err != nil {
		return nil, err
	}
	for _, m := range index.List {
		if m.Packed() {
			res.InBlocks++
		}
	}
	a.file(strings.TrimPrefix(plan.ModulesFile, "/"), index.Encode(), 0o644)
	return res, nil
}

// programs are the init, which must be one for the plan, and the kernel,
// which must be one for the same machines.
func (o Options) programs(p *plan.Plan) (init []byte, k *kernel, err error) {
	if init, err = readInit(o.Init); err != nil {
		return nil, nil, err
	}
	if err := checkTLS(o.Init, init, p); err != nil {
		return nil, nil, err
	}
	if k, err = readKernel(o.Host.Root, o.Modules); err != nil {
		return nil, nil, err
	}
	return init, k, sameMachine(o, init, k.machine)
}

// index is that of the chosen modules, with their parameters.
func (k *kernel) index(o Options, chosen []string) (index *plan.Modules, unapplied []string, err error) {
	host, exclude, err := hostModprobe(o)
	if err != nil {
		return nil, nil, err
	}

	index = k.closure(chosen, exclude)
	if o.Config.Modules.Set == "host" {
		host.apply(index)
	} else {
		unapplied = host.unapplied(index)
	}
	return index, unapplied, o.Config.locate(k.parameters(index, o.Config.Modules.Parameters))
}

// hostModprobe is what the host's modprobe.d says, and the modules that are
// left out for the configuration or, in an image for the host, for it.
func hostModprobe(o Options) (host *modprobe, exclude []string, err error) {
	exclude = slices.Clone(o.Config.Modules.Exclude)
	if host, err = readModprobe(o.Host.Root, o.Modprobe); err != nil || o.Config.Modules.Set != "host" {
		return host, exclude, err
	}

	for name, never := range host.never {
		if never && !slices.Contains(o.Config.Modules.Add, name) {
			exclude = append(exclude, name)
		}
	}
	return host, exclude, nil
}

// alwaysLoaded are the names that the init loads without being asked.
func alwaysLoaded(k *kernel, index *plan.Modules, added []string) []string {
	var names []string
	for _, word := range slices.Concat(always, added) {
		for _, name := range k.resolve(word) {
			if index.Find(name) >= 0 && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// addModules puts the modules and their firmware into the archive, what is
// seldom loaded into blocks, and makes the index name them by their place
// there.
func (o Options) addModules(a *archive, k *kernel, index *plan.Modules, seldom []bool) (missing []string, err error) {
	base := "lib/modules/" + filepath.Base(k.dir) + "/"
	pack := &packer{index: index}
	for _, i := range byPath(index) {
		file := index.List[i].Path
		data, err := k.read(file)
		if err != nil {
			return nil, fmt.Errorf("reading module %s: %w", file, err)
		}

		name := base + strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(file, ".zst"), ".xz"), ".gz")
		index.List[i].Path = "/" + name
		if seldom == nil || !seldom[i] || !pack.add(i, data) {
			a.file(name, data, 0o644)
		}
		wanted, err := firmwareOf(data)
		if err != nil {
			return nil, fmt.Errorf("reading module %s: %w", file, err)
		}

		for _, f := range wanted {
			if found, err := a.firmware(f, k.root, o.Firmware); err != nil {
				return nil, err
			} else if !found {
				missing = append(missing, f)
			}
		}
	}

	slices.Sort(missing)
	return slices.Compact(missing), pack.close(a, base, o.Compressors, o.Level)
}

// firmwareOf lists the firmware files that a module's .modinfo section
// names (MODULE_FIRMWARE in include/linux/module.h).
func firmwareOf(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, fmt.Errorf("not a kernel module: %w", err)
	}

	s := f.Section(".modinfo")
	if s == nil {
		return nil, nil
	}

	info, err := s.Data()
	if err != nil {
		return nil, err
	}

	var files []string
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		if name, ok := bytes.CutPrefix(entry, []byte("firmware=")); ok {
			files = append(files, string(name))
		}
	}

	return files, nil
}

// readInit reads the init and refuses what the kernel could not run from
// an image that holds nothing else.
func readInit(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the init: %w (make build makes bin/latchkey-init)", err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading the init %s: not an ELF file: %w", path, err)
	}
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil, errors.New("the init " + path + " is linked dynamically: build it with CGO_ENABLED=0")
	}
	return data, nil
}

// sameMachine refuses an init that the kernel of the modules cannot run.
func sameMachine(o Options, init []byte, modules elf.Machine) error {
	f, err := elf.NewFile(bytes.NewReader(init))
	if err != nil || modules == 0 || f.Machine == modules {
		return err
	}
	return fmt.Errorf("the init %s is for %s, the modules in %s are for %s: give --init the latchkey-init of that machine", o.Init, machineName(f.Machine), o.Modules, machineName(modules))
}

func machineName(m elf.Machine) string {
	arch := map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_386: "386", elf.EM_RISCV: "riscv64"}[m]
	if arch == "" {
		return m.String()
	}
	return arch + " (" + m.String() + ")"
}

package initramfs

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/hosttab"
	"latchkey/internal/plan"
	"latchkey/internal/rootdir"
)

// choose lists the names of the modules that the image needs, without
// what those depend on.
func (k *kernel) choose(c ModulesConfig, p *plan.Plan, host hosttab.Host, ciphers []string) ([]string, error) {
	var names []string
	var folders []string
	switch c.Set {
	case "", "universal":
		folders = universal
		if hasBoards(k.machine) {
			folders = slices.Concat(universal, boards)
		}

	case "host":
		found, err := k.ofHost(host)
		if err != nil {
			return nil, err
		}
		names = slices.Concat(found, forArrays(host), forMirror(host), forCaches(host), forPaths(host))
	}

	if p.AsksAtConsole() && c.Set != "none" {
		folders = slices.Concat(folders, keyboards)
	}
	if p.ReadsSticks() && c.Set != "none" {
		folders = slices.Concat(folders, sticks)
	}
	for file := range k.deps {
		name := plan.ModuleName(file)
		if otherFileSystem(inTree(file), fileSystems(p)) && !(p.ReadsSticks() && inFolders(file, sticks)) || slices.Contains(unusual, name) {
			continue
		}
		if inFolders(file, folders) || c.Set != "host" && c.Set != "none" && isOutOfTree(file) && k.servesBoot(file) {
			names = append(names, name)
		}
	}

	for _, word := range slices.Concat(always, ciphers, p.Net.Modules()) {
		names = append(names, k.resolve(word)...)
	}
	if p.NeedsState() {
		names = append(names, k.resolve("xfs")...)
	}
	names = append(names, k.requested(names, fileSystems(p))...)
	asked, err := k.asked(c, p)
	if err != nil {
		return nil, err
	}
	names = append(names, asked...)

	// PHY drivers come first, so that the drivers of links can wait for them.
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(k.rank(a)-k.rank(b), strings.Compare(a, b))
	})
	return slices.Compact(names), nil
}

// asked are the modules that latchkey.yaml asks for: the kernel must have
// them.
func (k *kernel) asked(c ModulesConfig, p *plan.Plan) (names []string, err error) {
	words := map[string][]string{"modules.add": c.Add}
	if p.Root.Overlay != "" {
		words["root.overlay"] = []string{"overlay"}
	}
	for key, list := range words {
		for _, word := range list {
			found := k.resolve(word)
			if len(found) == 0 && !k.builtin[plan.ModuleName(word)] {
				return nil, fmt.Errorf("%s: the kernel in %s has no module or alias %q", key, k.dir, word)
			}
			names = append(names, found...)
		}
	}
	return names, nil
}

// requested lists what the file systems that the root may have ask for when
// they are mounted.
func (k *kernel) requested(names, fstypes []string) (list []string) {
	for fs, words := range requested {
		if !slices.Contains(names, fs) && (!k.builtin[fs] || len(fstypes) > 0 && !slices.Contains(fstypes, fs)) {
			continue
		}
		for _, word := range words {
			list = append(list, k.resolve(word)...)
		}
	}
	return list
}

func (k *kernel) rank(name string) int {
	if strings.HasPrefix(inTree(k.byName[name]), "drivers/net/phy/") {
		return 0
	}
	return 1
}

// fileSystems are those that the boot mounts, none if that shows only then.
func fileSystems(p *plan.Plan) (fstypes []string) {
	fstypes = []string{p.Root.FSType}
	for _, u := range p.Usrs() {
		if u.Device != p.RootDevice(p.Root) {
			fstypes = append(fstypes, u.FSType)
		}
	}
	if slices.Contains(fstypes, "") || p.Root.OverlayDevice() != "" {
		return nil
	}
	return fstypes
}

// otherFileSystem tells whether a module is a file system's that the boot
// mounts none of.
func otherFileSystem(path string, fstypes []string) bool {
	return len(fstypes) > 0 && strings.HasPrefix(path, "fs/") && !slices.ContainsFunc(fstypes, func(f string) bool { return strings.HasPrefix(path, "fs/"+f+"/") })
}

// ofHost lists the modules that the devices of this machine ask for, and
// the file systems that are mounted.
func (k *kernel) ofHost(host hosttab.Host) ([]string, error) {
	index := &plan.Modules{}
	for _, a := range k.alias {
		index.Aliases = append(index.Aliases, plan.Alias{Pattern: a.pattern, Module: len(index.List)})
		index.List = append(index.List, plan.Module{Path: a.name})
	}
	var names []string

	sys := rootdir.Path(cmp.Or(host.Root, "/"), "sys/devices")
	if _, err := os.Stat(sys); err != nil {
		return nil, fmt.Errorf("looking for this machine's devices, for modules.set: host: %w", err)
	}
	err := filepath.WalkDir(sys, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "modalias" {
			return nil //nolint:nilerr // a device may vanish while we look
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		for _, i := range index.Match(strings.TrimSpace(string(text))) {
			names = append(names, plan.ModuleName(index.List[i].Path))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for this machine's devices: %w", err)
	}

	mounts, err := os.ReadFile(rootdir.Path(cmp.Or(host.Root, "/"), "proc/self/mounts"))
	if err != nil {
		return nil, fmt.Errorf("looking for this machine's file systems: %w", err)
	}

	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 {
			names = append(names, k.resolve("fs-"+f[2])...)
		}
	}

	return names, nil
}

// closure orders the chosen modules and all they need so that each comes
// after what it depends on. A soft dependency that would close a circle
// is left out, as modprobe does.
func (k *kernel) closure(names, exclude []string) *plan.Modules {
	index := &plan.Modules{}
	place := map[string]int{} // name → index; -1 while it is being placed
	out := map[string]bool{}
	for _, e := range exclude {
		out[plan.ModuleName(e)] = true
	}

	var add func(name string) (int, bool)
	add = func(name string) (int, bool) {
		if i, seen := place[name]; seen {
			return i, i >= 0
		}
		file, ok := k.byName[name]
		if !ok || out[name] {
			return -1, false
		}

		place[name] = -1
		m := plan.Module{Path: file}
		for _, dep := range k.deps[file] {
			if i, ok := add(plan.ModuleName(dep)); ok {
				m.Deps = append(m.Deps, i)
			}
		}

		for _, word := range k.soft[name] {
			for _, soft := range k.resolve(word) {
				if i, ok := add(soft); ok && !slices.Contains(m.Deps, i) {
					m.Soft = append(m.Soft, i)
				}
			}
		}

		place[name] = len(index.List)
		index.List = append(index.List, m)
		return place[name], true
	}
	for _, name := range names {
		add(name)
	}
	addPHYs(k, index)

	for _, a := range k.alias {
		i, ok := place[plan.ModuleName(a.name)]
		if ok && i >= 0 && deviceAlias(a.pattern) {
			index.Aliases = append(index.Aliases, plan.Alias{Pattern: a.pattern, Module: i})
		}
	}

	return index
}

// deviceAlias tells whether a pattern can match a device's modalias or a
// file system; the rest (crypto-*, net-pf-*, …) is asked for by name.
func deviceAlias(pattern string) bool {
	bus, _, ok := strings.Cut(pattern, ":")
	return strings.HasPrefix(pattern, "fs-") || ok && !strings.Contains(bus, "-") && !strings.HasPrefix(pattern, "devname:")
}

// addPHYs has the drivers of Ethernet PHYs loaded before those of board
// network links. The kernel asks for them by request_module("mdio:…")
// (drivers/net/phy/phy_device.c), which nobody answers in an initramfs; a
// link would run with the generic driver, or not at all. PCI and USB links
// name theirs as a soft dependency.
func addPHYs(k *kernel, index *plan.Modules) {
	isPHY, isBoard := map[string]bool{}, map[string]bool{}
	for _, a := range k.alias {
		name := plan.ModuleName(a.name)
		isPHY[name] = isPHY[name] || strings.HasPrefix(a.pattern, "mdio:")
		isBoard[name] = isBoard[name] || strings.HasPrefix(a.pattern, "of:")
	}

	for i := range index.List {
		m := &index.List[i]
		onPHY := slices.ContainsFunc(m.Deps, func(d int) bool { n := index.List[d].Name(); return n == "libphy" || n == "phylink" })
		if !onPHY || !isBoard[m.Name()] || isPHY[m.Name()] {
			continue
		}
		for d := range i { // a module waits for those before it only
			if isPHY[index.List[d].Name()] && !slices.Contains(m.Deps, d) && !slices.Contains(m.Soft, d) {
				m.Soft = append(m.Soft, d)
			}
		}
	}
}

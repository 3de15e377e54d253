package bootentry

import (
	"cmp"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/initramfs/uki"
	"latchkey/internal/rootdir"
)

// maxEntry bounds a file of the boot loader's, in bytes.
const maxEntry = 1 << 20

// readSystemdBoot is nil where another boot loader is.
func readSystemdBoot(root string, partitions []string) (*Menu, error) {
	here := ""
	for _, dir := range partitions {
		if found, _ := filepath.Glob(filepath.Join(rootdir.Path(root, dir+"/EFI/systemd"), "systemd-boot*.efi")); len(found) > 0 && here == "" {
			here = dir
		}
	}
	info := variable(root, "LoaderInfo")
	if here == "" || info != "" && !strings.HasPrefix(info, SystemdBoot) {
		return nil, nil
	}

	m := &Menu{Loader: SystemdBoot, Default: -1}
	for _, dir := range partitions {
		if err := m.typeOne(root, dir); err != nil {
			return nil, err
		}
		m.typeTwo(root, dir)
	}
	slices.SortStableFunc(m.Entries, compareEntries)
	m.choose(root, here)
	return m, nil
}

// typeOne reads the files of loader/entries.
func (m *Menu) typeOne(root, dir string) error {
	files, _ := filepath.Glob(filepath.Join(rootdir.Path(root, dir+"/loader/entries"), "*.conf"))
	for _, name := range files {
		e := Entry{}
		e.ID, e.Left, e.done = counters(filepath.Base(name))
		fields, err := fieldsOf(rootdir.Follow(root, name))
		if err != nil {
			return err
		}
		for _, f := range fields {
			switch f[0] {
			case "initrd":
				e.Image = onPartition(root, dir, f[1])
			case "linux":
				e.Kernel = onPartition(root, dir, f[1])
			case "efi", "uki":
				e.Image, e.Unified = onPartition(root, dir, f[1]), true
			case "sort-key":
				e.sortKey = f[1]
			case "machine-id":
				e.machineID = f[1]
			case "version":
				e.version = f[1]
			}
		}
		m.add(e)
	}
	return nil
}

// onPartition finds a file by its name on the partition that the entry is on.
func onPartition(root, dir, name string) string {
	name = strings.Fields(name)[0] // Fedora's entries have GRUB's variables behind it
	at := rootdir.Path(root, filepath.Join(dir, name))
	if _, err := os.Stat(at); err != nil {
		return onBoot(root, "/"+strings.TrimPrefix(name, "/"))
	}
	return at
}

// add takes an entry once: /boot may be /efi by another name.
func (m *Menu) add(e Entry) {
	same := func(have Entry) bool {
		if have.ID != e.ID || have.Left != e.Left {
			return false
		}
		a, errA := os.Stat(have.Image)
		b, errB := os.Stat(e.Image)
		return errA == nil && errB == nil && os.SameFile(a, b)
	}
	if !slices.ContainsFunc(m.Entries, same) {
		m.Entries = append(m.Entries, e)
	}
}

// typeTwo reads the unified kernel images of EFI/Linux.
func (m *Menu) typeTwo(root, dir string) {
	files, _ := filepath.Glob(filepath.Join(rootdir.Path(root, dir+"/EFI/Linux"), "*.efi"))
	for _, name := range files {
		e := Entry{Image: name, Unified: true}
		e.ID, e.Left, e.done = counters(filepath.Base(name))
		data, err := os.ReadFile(rootdir.Follow(root, name))
		if err != nil {
			continue
		}
		sections, err := uki.Read(data)
		if err != nil {
			continue // no boot loader lists it
		}
		for _, s := range sections {
			if s.Name == ".osrel" {
				os := assignments(string(s.Data))
				e.sortKey = cmp.Or(os["IMAGE_ID"], os["ID"])
				e.version = cmp.Or(os["IMAGE_VERSION"], os["VERSION"], os["VERSION_ID"], os["BUILD_ID"])
			}
		}
		m.add(e)
	}
}

// compareEntries is the order of systemd-boot's menu (boot_entry_compare in
// its boot.c): what was given up comes last, then sort keys, then the newest.
func compareEntries(a, b Entry) int {
	given := func(e Entry) int { return map[bool]int{true: 1}[e.Left == 0] }
	keyless := func(e Entry) int { return map[bool]int{true: 1}[e.sortKey == ""] }
	if order := cmp.Or(cmp.Compare(given(a), given(b)), cmp.Compare(keyless(a), keyless(b))); order != 0 {
		return order
	}
	if a.sortKey != "" {
		order := cmp.Or(strings.Compare(a.sortKey, b.sortKey), strings.Compare(a.machineID, b.machineID), -compareVersions(a.version, b.version))
		if order != 0 {
			return order
		}
	}
	if order := -compareVersions(a.ID, b.ID); order != 0 || !a.Counted() || !b.Counted() {
		return order
	}
	return cmp.Or(-cmp.Compare(a.Left, b.Left), cmp.Compare(a.done, b.done))
}

// choose finds the entry that is started: for the next boot alone, by the
// firmware's variable, by loader.conf, or the first.
func (m *Menu) choose(root, dir string) {
	wanted := [][2]string{
		{variable(root, "LoaderEntryOneShot"), "LoaderEntryOneShot, for one boot"},
		{variable(root, "LoaderEntryDefault"), "bootctl set-default"},
	}
	fields, _ := fieldsOf(rootdir.Path(root, dir+"/loader/loader.conf"))
	for _, f := range fields {
		if f[0] == "default" {
			wanted = append(wanted, [2]string{f[1], "default in loader/loader.conf"})
		}
	}
	for _, w := range wanted {
		pattern := w[0]
		if pattern == "@saved" {
			pattern = variable(root, "LoaderEntryLastBooted")
		}
		for i, e := range m.Entries {
			if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(e.ID)); pattern != "" && ok && err == nil {
				m.Default, m.Why = i, w[1]
				return
			}
		}
	}
	if len(m.Entries) > 0 {
		m.Default, m.Why = 0, "the first of its menu"
	}
}

// fieldsOf are the lines of a file of the boot loader's: a key, and the rest.
func fieldsOf(name string) (all [][2]string, err error) {
	info, err := os.Stat(name)
	if err != nil || info.Size() > maxEntry {
		return nil, err
	}
	text, err := os.ReadFile(name)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(line), "\t", " "), " ")
		if value = strings.TrimSpace(value); key != "" && key[0] != '#' && value != "" {
			all = append(all, [2]string{key, value})
		}
	}
	return all, err
}

// assignments are those of os-release(5).
func assignments(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			all[key] = strings.Trim(value, `"'`)
		}
	}
	return all
}

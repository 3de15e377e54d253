package bootentry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"latchkey/internal/rootdir"
)

// readGRUB reads what update-grub or grub2-mkconfig wrote, and the variables
// that GRUB keeps beside it.
func readGRUB(root string) (*Menu, error) {
	for _, dir := range []string{"/boot/grub", "/boot/grub2"} {
		name := rootdir.Path(root, dir+"/grub.cfg")
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || info.Size() > maxEntry {
			return nil, errors.Join(err, fs.ErrInvalid)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		env, _ := os.ReadFile(rootdir.Path(root, dir+"/grubenv"))
		saved := assignments(string(env))
		m := &Menu{Loader: GRUB, Default: -1}
		if blscfg.Match(text) {
			return m, m.blscfg(root, saved)
		}
		m.script(root, string(text), saved)
		return m, nil
	}
	return nil, ErrNoLoader
}

// blscfg is Fedora's command that reads /boot/loader/entries.
var blscfg = regexp.MustCompile(`(?m)^\s*blscfg\b`)

func (m *Menu) blscfg(root string, saved map[string]string) error {
	if err := m.typeOne(root, "/boot"); err != nil {
		return err
	}
	slices.SortStableFunc(m.Entries, func(a, b Entry) int { return -compareVersions(a.ID, b.ID) })
	for i := range m.Entries {
		m.Entries[i].ID = strings.TrimSuffix(m.Entries[i].ID, ".conf")
	}
	m.pick(saved["next_entry"], "next_entry in grubenv, for one boot")
	m.pick(saved["saved_entry"], "saved_entry in grubenv")
	if m.Default < 0 && len(m.Entries) > 0 {
		m.Default, m.Why = 0, "the first of its menu"
	}
	return nil
}

// pick takes the entry of an id, unless one was picked before.
func (m *Menu) pick(id, why string) {
	if i := slices.IndexFunc(m.Entries, func(e Entry) bool { return e.ID == id }); id != "" && i >= 0 && m.Default < 0 {
		m.Default, m.Why = i, why
	}
}

// A grubItem is an entry or a submenu, where it stands in the menu.
type grubItem struct {
	names []string // its title, and its id
	at    []int    // its place in each menu, from the outermost
	entry int      // -1 of a submenu
}

var (
	grubHead    = regexp.MustCompile(`^(menuentry|submenu)\s+('[^']*'|"[^"]*"|\S+)(.*)$`)
	grubID      = regexp.MustCompile(`(?:--id|\$menuentry_id_option)\s+('[^']*'|"[^"]*"|\S+)`)
	grubDefault = regexp.MustCompile(`^set\s+default=("[^"]*"|'[^']*'|\S+)`)
)

// script reads the script that GRUB runs, as far as update-grub writes one:
// entries, submenus, and the default.
func (m *Menu) script(root, text string, saved map[string]string) {
	var items []grubItem
	var parents []int // the submenus that are open
	counts, open, fallback := []int{0}, []bool{}, "0"
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		head := grubHead.FindStringSubmatch(line)
		switch {
		case head != nil:
			item := grubItem{names: []string{unquoted(head[2])}, at: append(slices.Clone(parents), counts[len(counts)-1]), entry: -1}
			if id := grubID.FindStringSubmatch(head[3]); id != nil {
				item.names = append(item.names, unquoted(id[1]))
			}
			counts[len(counts)-1]++
			if open = append(open, head[1] == "submenu"); head[1] == "submenu" {
				parents, counts = item.at, append(counts, 0)
			} else {
				item.entry = len(m.Entries)
				m.Entries = append(m.Entries, Entry{ID: item.names[0], Left: -1})
			}
			items = append(items, item)
		case strings.HasSuffix(line, "{"):
			open = append(open, false)
		case line == "}" && len(open) > 0:
			if open[len(open)-1] {
				parents, counts = parents[:len(parents)-1], counts[:len(counts)-1]
			}
			open = open[:len(open)-1]
		case grubDefault.MatchString(line):
			// The script sets "${next_entry}" and "${saved_entry}" by conditions on
			// grubenv, which are answered below; what is left is the constant.
			if d := unquoted(grubDefault.FindStringSubmatch(line)[1]); !strings.Contains(d, "next_entry") {
				fallback = d
			}
		case len(m.Entries) > 0:
			m.Entries[len(m.Entries)-1].load(root, word, strings.Fields(rest))
		}
	}
	m.grubDefault(items, fallback, saved)
}

// load takes the files that an entry loads.
func (e *Entry) load(root, word string, files []string) {
	if len(files) == 0 {
		return
	}
	switch word {
	case "linux", "linux16", "linuxefi":
		e.Kernel = onBoot(root, files[0])
	case "initrd", "initrd16", "initrdefi":
		e.Image = onBoot(root, files[len(files)-1])
	case "chainloader":
		e.Image, e.Unified = onBoot(root, files[0]), true
	}
}

// onBoot finds a file as GRUB names it: from the root of a partition that may
// be "/", /boot, or a subvolume.
func onBoot(root, name string) string {
	if _, after, on := strings.Cut(name, ")"); on && strings.HasPrefix(name, "(") {
		name = after
	}
	for _, at := range []string{name, "/boot" + name, "/boot/efi" + name, "/efi" + name, "/boot/" + filepath.Base(name)} {
		path := rootdir.Path(root, at)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return rootdir.Path(root, "/boot/"+filepath.Base(name))
}

// grubDefault finds what is started: a number, a title or an id, of submenus
// joined by ">".
func (m *Menu) grubDefault(items []grubItem, fallback string, saved map[string]string) {
	wanted := [][2]string{{saved["next_entry"], "next_entry in grubenv, for one boot"}, {fallback, "default in grub.cfg"}}
	if strings.Contains(fallback, "saved_entry") {
		wanted[1] = [2]string{saved["saved_entry"], "saved_entry in grubenv"}
		if saved["saved_entry"] == "" {
			wanted[1] = [2]string{"0", "the first of its menu"}
		}
	}
	for _, w := range wanted {
		if i := find(items, w[0]); w[0] != "" && i >= 0 {
			m.Default, m.Why = i, w[1]
			return
		}
	}
}

func find(items []grubItem, want string) int {
	var at []int
	last := -1
	for depth, word := range strings.Split(want, ">") {
		i := slices.IndexFunc(items, func(item grubItem) bool {
			n, err := strconv.Atoi(word)
			named := slices.Contains(item.names, word)
			return len(item.at) == depth+1 && slices.Equal(item.at[:depth], at) && (named || err == nil && item.at[depth] == n)
		})
		if i < 0 {
			return -1
		}
		at, last = items[i].at, items[i].entry
	}
	return last
}

func unquoted(s string) string { return strings.Trim(s, `"'`) }

// Package hosttab reads what the running system calls its encrypted volumes,
// /etc/crypttab and /etc/fstab, and finds where a plan calls them otherwise:
// the real root's systemd would then open them again under its own names, and
// ask for a passphrase.
package hosttab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"latchkey/internal/mapping"
	"latchkey/internal/rootdir"
)

// A Host is a root directory: "/" but in tests.
type Host struct{ Root string }

// A Volume is one of a plan.
type Volume struct {
	UUID, Name string
	Options    []string // words of crypttab(5)
	Sources    []string
	Header     bool // its header is elsewhere
	NoFail     bool
}

// Mounts is what a plan mounts.
type Mounts struct {
	Root string // device of "/" as fstab(5) names it, "" for the first volume
	Usr  bool   // it mounts /usr
}

// An entry is a line of crypttab(5): a name, and what it opens.
type entry struct{ name, source string }

// CrypttabName is what /etc/crypttab calls the volume with a UUID; "" if it
// does not name it.
func (h Host) CrypttabName(uuid string) (string, error) {
	lines, err := h.crypttab()
	if err != nil {
		return "", err
	}
	for _, e := range lines {
		if h.sourceIs(e.source, uuid) {
			return e.name, nil
		}
	}
	return "", nil
}

// Warnings are what will surprise somebody after the boot of a plan. Volumes
// of other machines are left alone: they are in no table here.
func (h Host) Warnings(volumes []Volume, planned Mounts) (list []string, err error) {
	names, renamed, here := map[string]bool{}, map[string]string{}, false
	for _, v := range volumes {
		names[v.Name] = true
		name, err := h.CrypttabName(v.UUID)
		if err != nil {
			return nil, err
		}
		here = here || name != "" || h.exists("/dev/disk/by-uuid/"+v.UUID)
		if name != "" && name != v.Name {
			renamed[name] = v.Name
			list = append(list, fmt.Sprintf("/etc/crypttab calls volume %s %q, the plan calls it %q: the running system would open it again and ask for a passphrase; write name: %s in latchkey.yaml",
				v.UUID, name, v.Name, name))
		}
	}
	if !here {
		return nil, nil
	}

	mounts, err := h.fields("/etc/fstab", 2)
	if err != nil {
		return nil, err
	}
	logical, err := h.LogicalRoot()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if m[1] == "/usr" && !planned.Usr {
			list = append(list, fmt.Sprintf("/etc/fstab mounts /usr from %s, and a real root's init is often in it: write usr: {device: …} in latchkey.yaml", m[0]))
		}
		name, mapped := strings.CutPrefix(m[0], "/dev/mapper/")
		if logical != nil && name == mapping.LogicalName(logical.Group, logical.Name) {
			continue // the callers of LogicalRoot know more
		}
		if mapped && m[1] == "/" && m[0] != planned.Root && !names[name] && renamed[name] == "" {
			list = append(list, fmt.Sprintf("/etc/fstab mounts / from /dev/mapper/%s, and no volume of the plan has this name", name))
		}
	}
	return list, nil
}

func (h Host) crypttab() (all []entry, err error) {
	lines, err := h.fields("/etc/crypttab", 2)
	for _, f := range lines {
		all = append(all, entry{f[0], f[1]})
	}
	return all, err
}

// sourceIs tells whether the second field of crypttab(5) means the volume.
func (h Host) sourceIs(source, uuid string) bool {
	if value, ok := strings.CutPrefix(source, "UUID="); ok {
		return strings.EqualFold(strings.Trim(value, `"`), uuid)
	}
	if value, ok := strings.CutPrefix(source, "/dev/disk/by-uuid/"); ok {
		return strings.EqualFold(value, uuid)
	}
	device, err := h.device(source)
	if err != nil {
		return false
	}
	volume, err := h.device("/dev/disk/by-uuid/" + strings.ToLower(uuid))
	return err == nil && volume == device
}

// device follows a name under /dev; PARTUUID= and others of crypttab(5) have
// links there.
func (h Host) device(source string) (string, error) {
	for _, tag := range []string{"LABEL", "PARTUUID", "PARTLABEL"} {
		if value, ok := strings.CutPrefix(source, tag+"="); ok {
			source = "/dev/disk/by-" + strings.ToLower(tag) + "/" + strings.Trim(value, `"`)
		}
	}
	return filepath.EvalSymlinks(h.path(source))
}

// path is where this machine's file is.
func (h Host) path(name ...string) string { return rootdir.Path(h.Root, filepath.Join(name...)) }

func (h Host) exists(path string) bool {
	_, err := os.Stat(h.path(path))
	return err == nil
}

// fields are the lines of a table that have at least so many fields; a
// table that is not there has none.
func (h Host) fields(path string, atLeast int) (lines [][]string, err error) {
	text, err := os.ReadFile(h.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= atLeast && !strings.HasPrefix(f[0], "#") {
			lines = append(lines, f)
		}
	}
	return lines, nil
}

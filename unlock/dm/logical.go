package dm

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"latchkey/internal/mapping"
	"latchkey/unlock/dm/control"
	"latchkey/unlock/lvm"
)

// A Logical is the mapping of a logical volume, to be made.
type Logical struct {
	Name     string // of the mapping: /dev/mapper/Name
	UUID     string // of the mapping, as lvm2 gives it
	Link     string // "VG/LV": what lvm2 calls it under /dev; "" for a part of another
	ReadOnly bool
	Rows     []lvm.Row
}

// MapLogical makes the mapping, its node and the link /dev/VG/LV. After an
// error no mapping is left.
func MapLogical(l Logical) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("mapping logical volume %s: %w", l.Name, err)
		}
	}()

	if err := l.check(); err != nil {
		return err
	}
	load := control.Request{Name: l.Name}
	for _, r := range l.Rows {
		load.Table = append(load.Table, control.Target(r))
	}
	if l.ReadOnly {
		load.Flags = unix.DM_READONLY_FLAG
	}
	err = create(l.Name, l.UUID, func() error {
		_, err := control.Send(unix.DM_TABLE_LOAD, load)
		return err
	})
	if err != nil {
		return err
	}
	if l.Link != "" {
		l.link()
	}
	return nil
}

// check refuses what no metadata can lead to: package lvm has checked it.
func (l Logical) check() error {
	if err := mapping.CheckName(l.Name); err != nil {
		return err
	}
	if !mapping.IsLogical(l.UUID) {
		return fmt.Errorf("%.100q cannot be the UUID of a logical volume", l.UUID)
	}
	at := uint64(0)
	for _, r := range l.Rows {
		if r.Start != at || r.Sectors == 0 || r.Type != "linear" && r.Type != "striped" && r.Type != "raid" || !areParams(r) {
			return fmt.Errorf("row %+v cannot be mapped", r)
		}
		at += r.Sectors
	}
	if at == 0 {
		return errors.New("there is nothing to map")
	}
	return nil
}

// areParams accepts numbers, and the words of a mirror.
func areParams(r lvm.Row) bool {
	signs := "0123456789: "
	if r.Type == "raid" {
		signs += "-_abcdefghijklmnopqrstuvwxyz"
	}
	return strings.Trim(r.Params, signs) == "" && (r.Type != "raid" || strings.HasPrefix(r.Params, "raid1 "))
}

// link makes /dev/VG/LV, for a real root without udev: udev makes the same
// (11-dm-lvm.rules). What stands there already stays, whatever it is, and
// nothing of the boot needs it.
func (l Logical) link() {
	group, name, ok := strings.Cut(l.Link, "/")
	if !ok || !mapping.IsLVMName(group) || !mapping.IsLVMName(name) {
		return
	}
	os.Mkdir("/dev/"+group, 0o755)
	os.Symlink("../mapper/"+l.Name, "/dev/"+group+"/"+name)
}

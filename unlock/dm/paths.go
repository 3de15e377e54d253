package dm

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"latchkey/internal/mapping"
	"latchkey/unlock/dm/control"
)

// Paths are the ways to one disk, to be mapped as that disk.
type Paths struct {
	Name    string // of the mapping
	WWID    string
	Sectors uint64 // of 512 bytes
	On      []Number
	ALUA    bool // scsi_dh_alua switches between them
	Part    Part // what is mapped besides, if it has a number
}

// A Part is a partition of a disk. The kernel reads no partition table on a
// mapping.
type Part struct {
	Number         int
	Start, Sectors uint64
}

// MapPaths makes the mapping of a disk, unless it is there, and that of its
// partition. After an error nothing new is left but perhaps the disk.
func MapPaths(p Paths) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("mapping the paths of disk %s: %w", p.WWID, err)
		}
	}()
	if err := p.check(); err != nil {
		return err
	}
	if err := createOnce(p.Name, mapping.MultipathUUID(p.WWID, 0), p.target()); err != nil || p.Part.Number == 0 {
		return err
	}
	disk, err := blockDevice(control.NodeDir + p.Name)
	if err != nil {
		return err
	}
	name := mapping.PartName(p.Name, p.Part.Number)
	return createOnce(name, mapping.MultipathUUID(p.WWID, p.Part.Number), p.Part.target(disk))
}

func (p Paths) check() error {
	if err := mapping.CheckName(mapping.PartName(p.Name, p.Part.Number)); err != nil {
		return err
	}
	outside := p.Part.Number != 0 && (p.Part.Sectors == 0 || p.Part.Sectors > p.Sectors || p.Part.Start > p.Sectors-p.Part.Sectors)
	if p.WWID == "" || len(mapping.MultipathUUID(p.WWID, p.Part.Number)) >= unix.DM_UUID_LEN || len(p.On) == 0 || p.Sectors == 0 || outside {
		return errors.New("there is nothing to map")
	}
	return nil
}

// target is the table: parse_priority_group and the like in
// drivers/md/dm-mpath.c. Each path is a group of its own, so that one is used
// until it fails, as multipathd does with a disk that it knows nothing of
// (group by "failover"). There is no queue_if_no_path: without any path, reads
// fail and the boot says so.
func (p Paths) target() control.Target {
	handler := "0"
	if p.ALUA {
		handler = "1 alua"
	}
	words := []string{"0", handler, fmt.Sprint(len(p.On)), "1"}
	for _, n := range p.On {
		words = append(words, fmt.Sprintf("service-time 0 1 1 %d:%d 1", n.Major, n.Minor))
	}
	return control.Target{Sectors: p.Sectors, Type: "multipath", Params: strings.Join(words, " ")}
}

// target is what kpartx makes of it.
func (p Part) target(disk Number) control.Target {
	return control.Target{Sectors: p.Sectors, Type: "linear", Params: fmt.Sprintf("%d:%d %d", disk.Major, disk.Minor, p.Start)}
}

// createOnce makes a mapping, or the node of the one that is there.
func createOnce(name, uuid string, row control.Target) error {
	if there, err := control.Send(unix.DM_DEV_STATUS, control.Request{Name: name}); err == nil {
		if got := unix.ByteSliceToString(there.Uuid[:]); got != uuid {
			return fmt.Errorf("the mapping %s is another's: its UUID is %.130q", name, got)
		}
		return makeNode(name, there.Dev)
	}
	return create(name, uuid, func() error {
		_, err := control.Send(unix.DM_TABLE_LOAD, control.Request{Name: name, Table: []control.Target{row}})
		return err
	})
}

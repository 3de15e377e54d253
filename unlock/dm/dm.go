// Package dm maps LUKS2 payloads, and the logical volumes in them, with the
// kernel's device-mapper.
//
// It speaks to /dev/mapper/control itself (package control).
// anatol/devmapper.go does that too, but it keeps the text of its table to
// itself, so that no test could see what reaches the kernel; it cuts long
// names short silently, leaves the device behind when resuming fails, and
// links an XTS of its own.
package dm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"latchkey/internal/mapping"
	"latchkey/unlock/dm/control"
	"latchkey/unlock/luks2"
)

// Target is one mapping to be made.
type Target struct {
	Name    string // of the mapping: /dev/mapper/Name
	Device  string // the block device that holds the LUKS header
	Segment luks2.Segment
	Options Options
}

// Options are dm-crypt's, named as in crypttab(5) less the dashes:
// Documentation/admin-guide/device-mapper/dm-crypt.rst.
type Options struct {
	ReadOnly            bool
	AllowDiscards       bool
	NoReadWorkqueue     bool // Linux 5.9
	NoWriteWorkqueue    bool // Linux 5.9
	SameCPUCrypt        bool
	SubmitFromCryptCPUs bool
}

// Number is a block device's number.
type Number struct{ Major, Minor uint32 }

const sectorBytes = 512 // device-mapper counts in it, whatever the disk does

// Map makes the mapping and its node /dev/mapper/Name. The key goes
// through the kernel keyring and is revoked there before Map returns; the
// caller wipes its own copy. After an error no mapping is left.
func Map(t Target, key luks2.VolumeKey) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("mapping %s as %s: %w", t.Device, t.Name, err)
		}
	}()

	device, err := blockDevice(t.Device)
	if err != nil {
		return err
	}

	ref := KeyRef{Type: key.Type(), UUID: key.UUID(), DigestID: key.DigestID(), SizeBytes: key.Bytes().Len()}
	table, err := Table(t, ref, device)
	if err != nil {
		return err
	}

	load := control.Request{Name: t.Name, Table: []control.Target{{Sectors: uint64(t.Segment.SizeBytes / sectorBytes), Type: "crypt", Params: table}}}
	if t.Options.ReadOnly {
		load.Flags = unix.DM_READONLY_FLAG
	}
	return create(t.Name, ref.mappingUUID(t.Name), func() error {
		return withKey(ref.name(), key.Bytes(), func() error {
			_, err := control.Send(unix.DM_TABLE_LOAD, load)
			return err
		})
	})
}

// create makes a mapping whose table load loads, resumes it, and makes its
// node. After an error no mapping is left.
func create(name, uuid string, load func() error) error {
	reply, err := control.Send(unix.DM_DEV_CREATE, control.Request{Name: name, UUID: uuid})
	if err != nil {
		return err
	}

	err = load()
	if err == nil { // without the suspend flag DM_DEV_SUSPEND resumes
		_, err = control.Send(unix.DM_DEV_SUSPEND, control.Request{Name: name, Event: control.PrimarySource})
	}
	if err == nil {
		err = makeNode(name, reply.Dev)
	}
	if err != nil {
		return errors.Join(err, control.Remove(name))
	}
	return nil
}

// Table is the dm-crypt table of the target on device, less the key. Every
// field is a constant, a checked number or a checked UUID: nothing from the
// disk reaches it as text.
func Table(t Target, key KeyRef, device Number) (string, error) {
	if err := mapping.CheckName(t.Name); err != nil {
		return "", err
	}
	if err := key.check(); err != nil {
		return "", err
	}

	s := t.Segment
	if err := luks2.CheckCipher(s.Cipher, key.SizeBytes); err != nil {
		return "", err
	}
	sector := int64(s.SectorBytes)
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || s.OffsetBytes < 0 || s.SizeBytes <= 0 || s.OffsetBytes%sector != 0 || s.SizeBytes%sector != 0 {
		return "", fmt.Errorf("segment %+v cannot be mapped", s)
	}

	const ivOffset = 0
	table := fmt.Sprintf("%s :%d:logon:%s %d %d:%d %d", s.Cipher, key.SizeBytes, key.name(), ivOffset, device.Major, device.Minor,
		s.OffsetBytes/sectorBytes)
	options := t.Options.words()
	if sector != sectorBytes {
		options = append(options, fmt.Sprintf("sector_size:%d", sector))
	}

	if len(options) > 0 {
		table += fmt.Sprintf(" %d %s", len(options), strings.Join(options, " "))
	}
	return table, nil
}

// OptionsOf reads words of crypttab(5); others are left out.
func OptionsOf(words []string) Options {
	has := func(o string) bool { return slices.Contains(words, o) }
	return Options{
		ReadOnly: has("read-only"), AllowDiscards: has("discard"),
		NoReadWorkqueue: has("no-read-workqueue"), NoWriteWorkqueue: has("no-write-workqueue"),
		SameCPUCrypt: has("same-cpu-crypt"), SubmitFromCryptCPUs: has("submit-from-crypt-cpus"),
	}
}

func (o Options) words() (words []string) {
	for _, w := range []struct {
		set  bool
		word string
	}{
		{o.AllowDiscards, "allow_discards"},
		{o.SameCPUCrypt, "same_cpu_crypt"},
		{o.SubmitFromCryptCPUs, "submit_from_crypt_cpus"},
		{o.NoReadWorkqueue, "no_read_workqueue"},
		{o.NoWriteWorkqueue, "no_write_workqueue"},
	} {
		if w.set {
			words = append(words, w.word)
		}
	}
	return words
}

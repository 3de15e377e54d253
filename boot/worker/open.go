package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/boot/wire"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// An opening is how one volume was opened, and what to report of it.
type opening struct {
	unlock.Opened
	report kms.Result
	keys   []unlock.Candidate // kept if there is a next one: wipe them
}

func wipeKeys(openings []opening) {
	for _, o := range openings {
		wipeAll(o.keys)
	}
}

func wipeAll(keys []unlock.Candidate) {
	for _, k := range keys {
		k.Passphrase.Wipe()
	}
}

// openAll opens every volume with what the KMS granted, side by side, and
// tells PID 1 of each. They share the memory that is free.
func (w *worker) openAll(ctx context.Context, disks []*disk, grant *grant, id *tpm.Identity) ([]opening, error) {
	defer closeDisks(disks)
	var wg sync.WaitGroup
	errs := make([]error, len(disks))
	openings := make([]opening, len(disks))
	memory := luks2.NewMemory(freeBytes())
	for i, d := range disks {
		wg.Go(func() { openings[i], errs[i] = w.openOne(ctx, d, grant, i, id, memory) })
	}
	wg.Wait()
	return openings, errors.Join(errs...)
}

// openDeadline leaves argon2id with 1 GiB time on a slow machine.
const openDeadline = 3 * time.Minute

func (w *worker) openOne(ctx context.Context, d *disk, from *grant, i int, id *tpm.Identity, memory *luks2.Memory) (opening, error) {
	var g kms.Granted // empty if the passphrase was typed
	var keys []unlock.Candidate
	if from.Grant != nil {
		g = from.Volumes[i]
	}

	opened, err := step(ctx, w, "unlock", openDeadline, func(ctx context.Context) (unlock.Opened, string, error) {
		known := unlock.Expect{Digest: g.Digest, MAC: g.MAC}
		if err := d.Judge(known); err != nil { // before a sealed key is asked of the TPM
			return unlock.Opened{}, d.Name, err
		}

		candidates, err := unlock.Granted(ctx, g, id)
		if err != nil {
			return unlock.Opened{}, d.Name, err
		}

		if from.typed != nil {
			candidates = append(candidates, unlock.Candidate{Passphrase: from.typed[i].Clone()})
		}
		if g.Staged.Kind != 0 {
			keys = candidates
		} else {
			defer wipeAll(candidates)
		}

		o, err := d.Open(ctx, d.file, candidates, known, memory, dm.Map)
		if err != nil {
			return o, d.Name, err
		}
		return o, fmt.Sprintf("%s keyslot=%d", d.Name, o.Slot), nil
	})
	if err != nil {
		wipeAll(keys)
		return opening{}, err
	}

	result := kms.Result{UUID: g.UUID, Outcome: kms.OpenedActive, SeqID: d.Header.SeqID()}
	if len(g.MAC) == 0 {
		result.MAC = opened.MAC[:]
	}
	return opening{opened, result, keys}, w.conn.Send(wire.Record{Kind: wire.KindOpened, Name: d.Name, Slot: uint8(opened.Slot), New: opened.Measure})
}

// freeBytes is MemAvailable of /proc/meminfo, 0 if it is not told.
func freeBytes() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib * 1024
		}
	}
	return 0
}

// chooseRoot finds the mapping that root= means and what file system is
// in it, and has the file system's module loaded.
func (w *worker) chooseRoot(ctx context.Context, disks []*disk) error {
	_, err := step(ctx, w, "probe", time.Minute, func(context.Context) (struct{}, string, error) {
		d, super, err := w.rootDisk(disks)
		if err != nil {
			return struct{}{}, "", err
		}
		for _, fstype := range []string{w.plan.Root.FSType, w.plan.ImageRoot.FSType, super.Type} {
			if fstype != "" {
				w.loader.Device("fs-" + fstype)
				w.loader.Named(fstype)
			}
		}

		err = w.conn.Send(wire.Record{Kind: wire.KindRoot, Name: d.Name, Text: super.Type})
		return struct{}{}, d.Name + " type=" + cmp.Or(w.plan.Root.FSType, super.Type), err
	})
	return err
}

// rootDisk finds the root as the command line names it, else as the image
// alone does.
func (w *worker) rootDisk(disks []*disk) (d *disk, super device.Super, err error) {
	roots := w.plan.Roots()
	for i, root := range roots {
		if d, super, err = w.findRoot(w.plan.RootDevice(root), disks); err == nil {
			return d, super, nil
		}
		if i < len(roots)-1 {
			w.waiting(fmt.Errorf("%w: the command line is wrong; using the image's root", err))
		}
	}
	return nil, device.Super{}, err
}

func (w *worker) findRoot(want string, disks []*disk) (*disk, device.Super, error) {
	var seen []string
	for _, d := range disks {
		super, err := probeMapping(d.Name)
		if err != nil {
			return nil, super, codes.Fail("root-unusable", "%w", err)
		}
		if w.isRoot(want, d, super) {
			if super.Type == "" && w.plan.Root.FSType == "" {
				return nil, super, codes.Fail("root-unusable", "no file system is recognized in %s: name it in root.fstype", d.Name)
			}
			return d, super, nil
		}
		seen = append(seen, fmt.Sprintf("%s (%s UUID=%s LABEL=%s)", d.Name, super.Type, super.UUID, super.Label))
	}

	return nil, device.Super{}, codes.Fail("root-not-in-plan", "root=%s is none of the opened volumes: %s", want, strings.Join(seen, ", "))
}

func probeMapping(name string) (device.Super, error) {
	f, err := os.Open("/dev/mapper/" + name)
	if err != nil {
		return device.Super{}, fmt.Errorf("opening the mapping %s: %w", name, err)
	}
	defer f.Close()
	super, _ := device.Probe(f)
	return super, nil
}

// isRoot tells whether root= means this volume: by its mapping, by the
// file system in it, or by the device that the container is on.
func (w *worker) isRoot(want string, d *disk, inside device.Super) bool {
	key, value, tagged := strings.Cut(want, "=")
	if tagged {
		value = strings.Trim(value, `"`)
		switch key {
		case "UUID":
			return strings.EqualFold(value, inside.UUID) || strings.EqualFold(value, d.Header.UUID())
		case "LABEL":
			return value != "" && (value == inside.Label || value == d.Header.Label())
		case "PARTLABEL":
			return value != "" && value == d.block.PartName
		case "PARTUUID":
			return strings.EqualFold(value, partUUID(d.block))
		}
		return false
	}

	if dir, name, ok := cutLast(want, "/"); ok && dir == "/dev/mapper" {
		return name == d.Name || name == "luks-"+d.Header.UUID()
	}
	for dir, names := range map[string][]string{
		"/dev/disk/by-uuid/":      {inside.UUID, d.Header.UUID()},
		"/dev/disk/by-label/":     {inside.Label, d.Header.Label()},
		"/dev/disk/by-partuuid/":  {partUUID(d.block)},
		"/dev/disk/by-partlabel/": {d.block.PartName},
	} {
		if after, ok := strings.CutPrefix(want, dir); ok {
			return after != "" && slices.Contains(names, after)
		}
	}

	return want == d.Device || sameDevice(want, d.block)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func sameDevice(path string, b device.Block) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK &&
		unix.Major(st.Rdev) == b.Major && unix.Minor(st.Rdev) == b.Minor
}

func partUUID(b device.Block) string {
	if b.Partition == 0 {
		return ""
	}
	f, err := os.Open("/dev/" + b.Disk)
	if err != nil {
		return ""
	}
	defer f.Close()
	uuid, err := device.PartUUID(f, b.Partition)
	if err != nil {
		return ""
	}
	return uuid
}

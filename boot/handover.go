package boot

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/boot/report"
	"latchkey/internal/mapping"
)

func (b *pid1) report() report.Report {
	r := report.Report{
		Version: 1, InitMS: b.began.Milliseconds(), TotalMS: (b.sys.Now() - b.began).Milliseconds(),
		Root: mapping.Path(b.root.Name), TPM: b.latch.off == "", Plan: b.plan.String(),
	}
	for _, s := range b.steps {
		r.Steps = append(r.Steps, report.Step{Name: s.Name, StartMS: ms(s.Start - b.began), TookMS: ms(s.Duration), Detail: s.Text, Code: s.Code})
	}
	for _, o := range b.opened {
		r.Volumes = append(r.Volumes, report.Volume{Name: o.Name, UUID: b.volume(o.Name).UUID, Keyslot: int(o.Slot)})
	}
	for _, c := range b.closed {
		r.Volumes = append(r.Volumes, report.Volume{Name: c.Name, UUID: b.volume(c.Name).UUID, Keyslot: -1, Code: c.Code})
	}
	return r
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// handOver leaves in /run what the real root needs to know.
func (b *pid1) handOver() error {
	if err := b.sys.Mkdir("/run/latchkey"); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	text, err := json.MarshalIndent(b.report(), "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := b.sys.WriteFile(report.File, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := b.writeMeasured(); err != nil {
		b.sys.Log(Info, err.Error()) // the boot is as good without it
	}
	return b.writeUdev()
}

// notForOthers is what lvm2 tells udev of a logical volume that is a part of
// another: no links, and nobody looks into it (_get_udev_flags in
// lib/activate/dev_manager.c).
const notForOthers = "E:DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG=1\nE:DM_UDEV_DISABLE_DISK_RULES_FLAG=1\nE:DM_UDEV_DISABLE_OTHER_RULES_FLAG=1\n"

// writeUdev tells udev of the real root that the mappings are complete.
// Without it 10-dm.rules takes them for half made, because no udev saw
// their first event, and systemd waits for their device units for ever.
func (b *pid1) writeUdev() error {
	mappings, err := b.sys.Mappings()
	if err != nil {
		return fmt.Errorf("writing the udev database: %w", err)
	}

	if err := b.sys.Mkdir("/run/udev"); err != nil {
		return fmt.Errorf("writing the udev database: %w", err)
	}
	if err := b.sys.Mkdir("/run/udev/data"); err != nil {
		return fmt.Errorf("writing the udev database: %w", err)
	}

	var names []string
	for _, o := range b.opened {
		names = append(names, o.Name)
	}
	for _, name := range slices.Concat(names, b.above(mappings), disks(mappings)) {
		if mapping.IsArray(name) {
			continue // what its rules want to know they read of the array itself
		}
		m, ok := mappings[name]
		if !ok {
			return fmt.Errorf("writing the udev database: mapping %s is gone", name)
		}
		text := "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n"
		if isPart(name, mappings) {
			text += notForOthers
		}
		if err := b.sys.WriteFile("/run/udev/data/b"+m.Device, []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing the udev database: %w", err)
		}
	}

	return nil
}

// systemdArgs are the arguments with which systemd takes over from an
// initrd: systemd(1), --switched-root and --deserialize.
func (b *pid1) systemdArgs() ([]string, error) {
	realtime := time.Duration(time.Now().UnixNano()) - (b.sys.Now() - b.began)
	fd, err := b.sys.Timestamp(realtime, b.began)
	if err != nil {
		return nil, err
	}
	return []string{"--switched-root", "--system", "--deserialize", fmt.Sprint(fd)}, nil
}

// summary is the last line before the pivot.
func (b *pid1) summary() {
	var parts []string
	for _, s := range b.steps {
		if s.Code == "" {
			parts = append(parts, fmt.Sprintf("%s=%d", s.Name, s.Duration.Milliseconds()))
		}
	}
	b.sys.Log(Info, fmt.Sprintf("boot took %dms: %s", (b.sys.Now()-b.began).Milliseconds(), strings.Join(parts, " ")))
}

package boot

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A Report is /run/latchkey/boot.json: how the boot went, for
// `latchkey status` and whoever else wants to know.
type Report struct {
	Version int            `json:"version"`
	InitMS  int64          `json:"init_started_ms"` // since the kernel started
	TotalMS int64          `json:"total_ms"`        // from init's start to the pivot
	Steps   []ReportStep   `json:"steps"`
	Volumes []ReportVolume `json:"volumes"`
	Root    string         `json:"root"`
	TPM     bool           `json:"tpm"`
	Plan    string         `json:"plan"` // in words
}

// A ReportStep is one step: times in milliseconds since init started.
type ReportStep struct {
	Name    string  `json:"name"`
	StartMS float64 `json:"start_ms"`
	TookMS  float64 `json:"took_ms"`
	Detail  string  `json:"detail,omitempty"`
	Code    string  `json:"code,omitempty"`
}

// A ReportVolume is one opened volume.
type ReportVolume struct {
	Name    string `json:"name"`
	UUID    string `json:"uuid"`
	Keyslot int    `json:"keyslot"`
}

func (b *pid1) report() Report {
	r := Report{
		Version: 1, InitMS: b.began.Milliseconds(), TotalMS: (b.sys.Now() - b.began).Milliseconds(),
		Root: "/dev/mapper/" + b.root.Name, TPM: !b.latch.absent, Plan: b.plan.String(),
	}
	for _, s := range b.steps {
		r.Steps = append(r.Steps, ReportStep{s.Name, ms(s.Start - b.began), ms(s.Duration), s.Text, s.Code})
	}
	for _, o := range b.opened {
		r.Volumes = append(r.Volumes, ReportVolume{o.Name, b.volume(o.Name).UUID, int(o.Slot)})
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
	if err := b.sys.WriteFile(ReportFile, append(text, '\n')); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return b.writeUdev()
}

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

	for _, o := range b.opened {
		m, ok := mappings[o.Name]
		if !ok {
			return fmt.Errorf("writing the udev database: mapping %s is gone", o.Name)
		}
		if err := b.sys.WriteFile("/run/udev/data/b"+m.Device, []byte("E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n")); err != nil {
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

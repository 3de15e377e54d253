package agent

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"latchkey/boot/latch"
	"latchkey/boot/worker"
	"latchkey/internal/plan"
	"latchkey/netup"
)

// Kernel is the real System. Modules and device nodes are udev's business.
type Kernel struct {
	worker.Kernel
	// Given: the tool that made this initramfs brings the network up.
	Given bool
}

// Chip implements System.
func (Kernel) Chip() latch.System { return latch.Kernel{} }

// measureLog is where systemd notes what it has measured
// (src/shared/tpm2-util.c, tpm2_userspace_log).
const measureLog = "/run/log/systemd/tpm2-measure.log"

// Phased implements System: systemd-pcrphase-initrd.service has measured that
// the phase begins, and measures its end.
func (Kernel) Phased() bool {
	log, err := os.ReadFile(measureLog)
	return err == nil && strings.Contains(string(log), `"enter-initrd"`)
}

// Modaliases implements worker.Drivers: udev has seen them.
func (Kernel) Modaliases() []string { return nil }

// Modules implements worker.Drivers.
func (Kernel) Modules([]string, *slog.Logger) (worker.Loader, error) { return modprobe{}, nil }

// modprobe loads what no device asks for: file systems of sticks, bonds.
type modprobe struct{}

// Named implements worker.Loader. What is not there shows where it is needed.
func (modprobe) Named(names ...string) {
	for _, name := range names {
		exec.Command("modprobe", "-q", "--", name).Run() //nolint:errcheck // see above
	}
}

// Device, Hold and Release implement worker.Loader.
func (modprobe) Device(string) {}
func (modprobe) Hold(bool)     {}
func (modprobe) Release()      {}

// Network implements worker.Links.
func (k Kernel) Network(ctx context.Context, n plan.Net, log *slog.Logger, update func([]netup.Link)) error {
	if k.Given {
		return watch(ctx, update)
	}
	return k.Kernel.Network(ctx, n, log, update)
}

// Leave implements worker.Links.
func (k Kernel) Leave(n plan.Net, links []netup.Link, log *slog.Logger) error {
	if k.Given {
		return nil
	}
	return k.Kernel.Leave(n, links, log)
}

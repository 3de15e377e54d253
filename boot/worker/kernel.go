package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/sys/unix"

	"latchkey/boot/device"
	"latchkey/boot/module"
	"latchkey/boot/wire"
	"latchkey/discover"
	"latchkey/internal/kmsg"
	"latchkey/internal/mapping"
	"latchkey/internal/meminfo"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/netup"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/md/control"
	"latchkey/unlock/source/kairos"
	"latchkey/unlock/source/keyfile"
	"latchkey/unlock/source/prompt"
	"latchkey/unlock/tpm"
)

// Kernel is the real System.
type Kernel struct {
	Secure TLS          // nil: without TLS
	Source KairosSource // nil: without the source kairos
	Shared bool         // others use the TPM, too
}

// Plan implements System.
func (Kernel) Plan() (*plan.Plan, string, error) { return wire.ReadPlan() }

// Now implements System.
func (Kernel) Now() time.Duration { return wire.Now() }

// ProductUUID implements System: drivers/firmware/dmi-id.c.
func (Kernel) ProductUUID() (string, error) {
	text, err := os.ReadFile("/sys/class/dmi/id/product_uuid")
	return string(text), err
}

// Log implements System: the kernel log, or standard error without one.
func (Kernel) Log() *slog.Logger {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return slog.New(kmsg.New(os.Stderr, slog.LevelInfo))
	}
	return slog.New(kmsg.New(f, slog.LevelInfo))
}

// Events implements Drivers.
func (Kernel) Events(ctx context.Context) (<-chan device.Event, error) { return device.Events(ctx) }

// Modaliases implements Drivers.
func (Kernel) Modaliases() []string { return device.Modaliases("/sys") }

// Modules implements Drivers.
func (Kernel) Modules(blocked []string, log *slog.Logger) (Loader, error) {
	index, err := module.ReadIndex(os.ReadFile)
	if err != nil {
		return nil, err
	}
	return module.New(index, blocked, module.Insert, log), nil
}

// Blocks implements Disks.
func (Kernel) Blocks() ([]device.Block, error) { return device.Blocks("/sys") }

// Number implements Disks.
func (Kernel) Number(path string) (n dm.Number, ok bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return dm.Number{}, false
	}
	return dm.Number{Major: unix.Major(uint64(st.Rdev)), Minor: unix.Minor(uint64(st.Rdev))}, true
}

// Map implements Disks.
func (Kernel) Map(t dm.Target, key luks2.VolumeKey) error { return dm.Map(t, key) }

// MapLogical implements Disks.
func (Kernel) MapLogical(l dm.Logical) error { return dm.MapLogical(l) }

// MapPaths implements Disks.
func (Kernel) MapPaths(p dm.Paths) error { return dm.MapPaths(p) }

// RunArray implements Disks. The link is the one that udev makes in the real
// root (63-md-raid-arrays.rules); what stands there already stays.
func (Kernel) RunArray(start control.Start, name string) error {
	device, err := control.Run(start)
	if err != nil {
		return err
	}
	if _, after, ok := strings.Cut(name, ":"); ok {
		name = after
	}
	if mapping.IsLVMName(name) { // the same characters: it leads nowhere else
		os.Mkdir("/dev/md", 0o755)
		os.Symlink("../"+device, "/dev/md/"+name)
	}
	return nil
}

// RunCached implements Disks: Documentation/admin-guide/bcache.rst.
func (Kernel) RunCached(path string) error {
	f, err := os.OpenFile("/sys/fs/bcache/register", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(path)
	return errors.Join(err, f.Close())
}

// Join implements Disks.
func (Kernel) Join(path string) error { return device.Join(path) }

// FreeBytes implements Disks.
func (Kernel) FreeBytes() int64 { return meminfo.Available() }

// Open implements Disks.
func (Kernel) Open(path string, write bool) (File, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	return &blockFile{f}, nil
}

// A blockFile is a block device.
type blockFile struct{ *os.File }

// Sync writes what is cached and forgets it, so that a keyslot that is
// read back comes from the disk: BLKFLSBUF, block/ioctl.c.
func (f *blockFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		unix.IoctlSetInt(int(fd), unix.BLKFLSBUF, 0) // a kernel that refuses leaves the cache: no harm
	})
}

// ReadKey implements Disks.
func (Kernel) ReadKey(d keyfile.Device, f keyfile.File) (secret.Bytes, error) {
	return keyfile.Read(d, f)
}

// Network implements Links.
func (Kernel) Network(ctx context.Context, n plan.Net, log *slog.Logger, update func([]netup.Link)) error {
	return netup.Run(ctx, netup.Linux{}, n, log, update)
}

// Leave implements Links.
func (Kernel) Leave(n plan.Net, links []netup.Link, log *slog.Logger) error {
	if n.Keep {
		return netup.Keep(netup.Linux{}, "/run", n, links)
	}
	return netup.Release(netup.Linux{}, log)
}

// Sockets implements Links.
func (Kernel) Sockets() discover.Sockets { return discover.System{} }

// Dial implements Links.
func (Kernel) Dial(link string) func(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if link != "" {
		d.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			return errors.Join(raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), link) }), err)
		}
	}
	return d.DialContext
}

// TLS implements Links.
func (k Kernel) TLS() TLS { return k.Secure }

// Kairos implements Links.
func (k Kernel) Kairos() KairosSource { return k.Source }

// Server implements Links.
func (k Kernel) Server(pins []kms.Pin, link string) Server {
	return &kms.Client{Pins: pins, Dial: k.Dial(link)}
}

// OpenTPM implements System. It opens the TPM without the kernel's
// resource manager, which would load and save every object around every
// command; on a slow chip that costs more than the commands. Nobody else
// holds objects now: the latch has none. If somebody is there, the
// resource manager shares.
func (k Kernel) OpenTPM() (TPM, error) {
	if !k.Shared {
		if t, err := tpm.Open("/dev/tpm0"); err == nil {
			return chip{t}, nil
		}
	}
	t, err := tpm.Open(tpm.DefaultPath)
	if err != nil {
		return nil, err
	}
	return chip{t}, nil
}

// A chip is a tpm.TPM.
type chip struct{ *tpm.TPM }

func (c chip) Identify(ctx context.Context, o tpm.Options) (Identity, string, error) {
	id, err := c.TPM.Identify(ctx, o)
	if err != nil {
		return nil, "", err
	}
	detail := fmt.Sprintf("commands=%d", c.Commands())
	if err := id.NotKept(); err != nil {
		detail += fmt.Sprintf(" the keys are made: %v (latchkey tpm keep)", err)
	}
	return tpmKeys{id}, detail, nil
}

// tpmKeys are a tpm.Identity in an initramfs, where nobody has mounted
// securityfs: most boots never need it.
type tpmKeys struct{ *tpm.Identity }

// BootLog implements kms.Witness.
func (k tpmKeys) BootLog(ctx context.Context) (kms.BootLog, error) {
	if _, err := os.Stat(tpm.EventLog); err != nil && unix.Mount("securityfs", tpm.SecurityFS, "securityfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") == nil {
		defer unix.Unmount(tpm.SecurityFS, 0)
	}
	return k.Identity.BootLog(ctx)
}

// Console implements System.
func (Kernel) Console() (io.ReadWriteCloser, error) { return prompt.Console() }

// Kairos implements TPM.
func (c chip) Kairos(ctx context.Context, key tpm2.TPMHandle) (kairos.TPM, error) {
	k, err := c.TPM.Kairos(ctx, key)
	return k, err
}

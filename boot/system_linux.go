package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/boot/module"
	"latchkey/boot/wire"
	"latchkey/internal/kmsg"
)

// Kernel is the real System.
type Kernel struct {
	kmsg *os.File // nil until /dev is there
	log  *slog.Logger
}

// Mkdir implements System; a folder that is there already is fine.
func (k *Kernel) Mkdir(path string) error { return os.MkdirAll(path, 0o755) }

// ReadFile implements System.
func (k *Kernel) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

// WriteFile implements System.
func (k *Kernel) WriteFile(path string, data []byte, perm os.FileMode) error {
	return os.WriteFile(path, data, perm)
}

// List implements System.
func (k *Kernel) List(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Now implements System with CLOCK_BOOTTIME.
func (k *Kernel) Now() time.Duration { return wire.Now() }

// Log implements System: to the kernel log, or to standard error (the
// console) as long as there is no /dev/kmsg.
func (k *Kernel) Log(level Level, text string) {
	if k.kmsg == nil {
		f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
		if err != nil {
			fmt.Fprintln(os.Stderr, "latchkey:", kmsg.Clean(text))
			return
		}
		k.kmsg = f
		k.log = slog.New(kmsg.New(f, slog.LevelInfo))
	}
	l := slog.LevelInfo
	if level == Human {
		l = kmsg.Human
	}
	k.log.Log(context.Background(), l, text)
}

// Load implements System.
func (k *Kernel) Load(names, blocked []string) error {
	index, err := module.ReadIndex(os.ReadFile)
	if err != nil {
		return err
	}
	module.New(index, blocked, module.Insert, k.log).Named(names...)
	return nil
}

// Reboot implements System: reboot(2), after what is written is synced.
func (*Kernel) Reboot(action string) error {
	done := make(chan struct{})
	go func() { unix.Sync(); close(done) }()
	select {
	case <-done:
	case <-time.After(callWait): // a disk that does not answer
	}

	cmd := uint32(unix.LINUX_REBOOT_CMD_RESTART)
	switch action {
	case "poweroff":
		cmd = unix.LINUX_REBOOT_CMD_POWER_OFF
	case "halt":
		cmd = unix.LINUX_REBOOT_CMD_HALT
	}
	return unix.Reboot(int(int32(cmd))) // an unsigned int of the kernel
}

// Timestamp implements System: a file in memory that systemd reads
// through --deserialize (src/core/manager-serialize.c), times in µs.
func (k *Kernel) Timestamp(realtime, monotonic time.Duration) (int, error) {
	fd, err := unix.MemfdCreate("initrd-timestamp", 0) // stays open over execve
	if err != nil {
		return -1, fmt.Errorf("making the timestamp file: %w", err)
	}
	text := fmt.Sprintf("initrd-timestamp=%d %d\n\n", realtime.Microseconds(), monotonic.Microseconds())
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		return -1, fmt.Errorf("writing the timestamp file: %w", err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return -1, fmt.Errorf("rewinding the timestamp file: %w", err)
	}
	return fd, nil
}

// Watchdog implements System. Opening a watchdog starts it, and one that
// cannot be stopped again (nowayout) would reset the real root, which may
// not pet it: that one is left to the kernel, which pets it until somebody
// opens it (drivers/watchdog/watchdog_dev.c).
func (k *Kernel) Watchdog() (io.WriteCloser, error) {
	nowayout, err := os.ReadFile("/sys/class/watchdog/watchdog0/nowayout")
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(nowayout)) != "0" {
		return nil, errors.New("the watchdog cannot be stopped: left alone")
	}
	f, err := os.OpenFile("/dev/watchdog", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &watchdog{f}, nil
}

type watchdog struct{ *os.File }

// Close stops the watchdog: the magic close of
// Documentation/watchdog/watchdog-api.rst.
func (w *watchdog) Close() error {
	_, err := w.WriteString("V")
	return errors.Join(err, w.File.Close())
}

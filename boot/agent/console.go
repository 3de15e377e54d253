package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"latchkey/internal/kmsg"
)

// Where the kernel tells, and is told, what of its log the console shows, and
// the console itself.
const (
	printkLevel = "/proc/sys/kernel/printk"
	console     = "/dev/console"
)

// loud shows people what they must see, also while askpass of Debian's
// cryptsetup-initramfs keeps the kernel's log from the console, as it does
// from its question to the answer (klogctl(3), SYSLOG_ACTION_CONSOLE_OFF).
type loud struct {
	slog.Handler
	printk, console string
}

// Handle implements slog.Handler.
func (l loud) Handle(ctx context.Context, r slog.Record) error {
	err := l.Handler.Handle(ctx, r)
	if r.Level < kmsg.Human || !l.off() {
		return err
	}
	f, openErr := os.OpenFile(l.console, os.O_WRONLY|os.O_APPEND, 0)
	if openErr != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "\r\nlatchkey: %s\r\n", kmsg.Clean(r.Message))
	return err
}

// off tells whether the console shows not even errors: the first number is the
// level below which messages are shown (Documentation/admin-guide/sysctl).
func (l loud) off() bool {
	const levelErr = 3
	text, err := os.ReadFile(l.printk)
	var level int
	_, scanErr := fmt.Sscan(string(text), &level)
	return err == nil && scanErr == nil && level <= levelErr
}

// Log implements worker.System.
func (k Kernel) Log() *slog.Logger {
	return slog.New(loud{k.Kernel.Log().Handler(), printkLevel, console})
}

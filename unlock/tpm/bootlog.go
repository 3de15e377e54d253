package tpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"latchkey/kms"
)

// EventLog is where the kernel shows what firmware and boot loader measured
// (drivers/char/tpm/eventlog/common.c), and SecurityFS where that is mounted.
const (
	SecurityFS = "/sys/kernel/security"
	EventLog   = SecurityFS + "/tpm0/binary_bios_measurements"
)

// BootLog implements kms.Witness. A firmware that leaves no log, or a kernel
// that shows none, gives an empty one.
func (id *Identity) BootLog(context.Context) (kms.BootLog, error) {
	var l kms.BootLog
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return l, fmt.Errorf("reading the command line: %w", err)
	}
	l.CommandLine = strings.TrimSpace(string(cmdline))
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		l.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	l.Log, err = readLog(EventLog)
	return l, err
}

// readLog reads a log, and one byte more than may be sent of it at most: one
// that is too long is not sent at all.
func readLog(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the event log: %w", err)
	}
	defer f.Close()
	log, err := io.ReadAll(io.LimitReader(f, kms.MaxLog+1))
	if err != nil {
		return nil, fmt.Errorf("reading the event log: %w", err)
	}
	return log, nil
}

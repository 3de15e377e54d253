package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// promptAfter is how long the KMS may take before people are asked, when
// the plan has both: most boots never show the question.
const promptAfter = 10 * time.Second

// prompt asks at the console for a passphrase, the recovery key, say,
// until what was typed opens every volume. It runs only if the plan names
// the source "prompt" for all of them. A read from a terminal cannot be
// called back: the goroutine ends with the process.
func (w *worker) prompt(ctx context.Context, disks []*disk, after time.Duration) ([]secret.Bytes, error) {
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	console, err := os.OpenFile("/dev/console", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the console: %w", err)
	}
	defer console.Close()
	restore := hush(console)
	defer restore()
	typed := make([]secret.Bytes, len(disks))
	for ctx.Err() == nil {
		fmt.Fprint(console, "\r\nlatchkey: recovery passphrase: ")
		line, err := readLine(console)
		if err != nil {
			return nil, fmt.Errorf("reading the console: %w", err)
		}
		if open := w.tryTyped(ctx, disks, typed, line); open == len(disks) {
			return typed, nil
		} else {
			fmt.Fprintf(console, "\r\nlatchkey: %d of %d volumes open with what was typed\r\n", open, len(disks))
		}
	}

	return nil, ctx.Err()
}

// tryTyped tries a line on the volumes that have no key yet, and returns
// how many have one now. A line that opens nothing is wiped.
func (w *worker) tryTyped(ctx context.Context, disks []*disk, typed []secret.Bytes, line secret.Bytes) (open int) {
	used := false
	for i, d := range disks {
		if typed[i].Len() == 0 && line.Len() > 0 {
			key, _, err := d.Header.Unlock(ctx, d.file, luks2.Attempt{Passphrase: line, Slot: luks2.AnySlot, Memory: luks2.NewMemory(freeBytes())})
			key.Wipe()
			if err == nil {
				typed[i], used = line, true
			} else if !errors.Is(err, luks2.ErrWrongKey) {
				w.log.Warn("trying what was typed", "volume", d.Name, "err", err)
			}
		}
		if typed[i].Len() > 0 {
			open++
		}
	}

	if !used {
		line.Wipe()
	}
	return open
}

// hush switches the terminal's echo off and returns how to undo it.
func hush(tty *os.File) func() {
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return func() {} // not a terminal: nothing echoes
	}
	quiet := *before
	quiet.Lflag &^= unix.ECHO
	quiet.Lflag |= unix.ICANON
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, &quiet); err != nil {
		return func() {}
	}
	return func() { unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, before) }
}

// maxLine is the longest passphrase of cryptsetup that is typed
// (DEFAULT_PASSPHRASE_SIZE_MAX), in bytes.
const maxLine = 512

// readLine reads up to the end of a line, which it leaves out.
func readLine(r io.Reader) (secret.Bytes, error) {
	buf := make([]byte, 0, maxLine+2)
	defer func() { clear(buf[:cap(buf)]) }()
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if i := bytes.IndexAny(buf, "\r\n"); i >= 0 {
			return secret.Own(bytes.Clone(buf[:i])), nil
		}
		switch {
		case err != nil:
			return secret.Bytes{}, err
		case len(buf) == cap(buf):
			buf = buf[:0] // keys mashed: forget them
		}
	}
}

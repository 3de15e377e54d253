package wire

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/plan"
)

// What PID 1 and its children read on their own.
const (
	PlanFile  = "/plan.json"
	CmdlineAt = "/proc/cmdline"
	// ImageCmdline is the command line that a unified kernel image was built
	// with (initramfs.WithCmdline).
	ImageCmdline = "/image-cmdline"
	// ImageSize is the first file of an image, ImageEnd the last
	// (initramfs.SizeFile, initramfs.EndFile).
	ImageSize, ImageEnd = "/image-size", "/image-end"
)

// ReadPlan is for the children: PID 1 has shown the problems already. It
// returns the command line, too.
func ReadPlan() (p *plan.Plan, cmdline string, err error) {
	p, cmdline, _, err = readPlan(os.ReadFile)
	return p, cmdline, err
}

// ReadLine returns what of the command line the plan lets be used.
func ReadLine(read func(path string) ([]byte, error)) (line string, err error) {
	p, cmdline, image, err := readPlan(read)
	if err != nil {
		return "", err
	}
	return p.Line(cmdline, image), nil
}

func readPlan(read func(path string) ([]byte, error)) (p *plan.Plan, cmdline, image string, err error) {
	file, err := read(PlanFile)
	if err != nil {
		return nil, "", "", fmt.Errorf("reading the plan: %w", err)
	}
	words, err := read(CmdlineAt)
	if err != nil {
		return nil, "", "", fmt.Errorf("reading the command line: %w", err)
	}
	own, err := read(ImageCmdline)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", "", fmt.Errorf("reading the image's command line: %w", err)
	}
	p, err = plan.ParseAgain(file, string(words), string(own))
	return p, string(words), string(own), err
}

// Now is the clock of Records: CLOCK_BOOTTIME, since the kernel started.
func Now() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // cannot fail: the clock exists since 2.6.39
	return time.Duration(t.Nano())
}

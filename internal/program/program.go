// Package program runs programs that a configuration names: by their whole
// path, without a shell, with an environment of its own, and none of what
// they started outlives their time.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Named judges the form of a program with its arguments.
func Named(argv []string) error {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return fmt.Errorf("the program %q must be named by its whole path", strings.Join(argv, " "))
	}
	return nil
}

// Check is Named, and looks whether the program is there.
func Check(argv []string) error {
	if err := Named(argv); err != nil {
		return err
	}
	info, err := os.Stat(argv[0])
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is no program", argv[0])
	}
	return nil
}

// CheckTimeout judges how long a program may run.
func CheckTimeout(d time.Duration) error {
	if d <= 0 || d > time.Hour {
		return fmt.Errorf("the timeout %s must be more than nothing and at most an hour", d)
	}
	return nil
}

// Command is a program that is to run until ctx ends. It has PATH and these
// variables; the whole group goes, with what it started.
func Command(ctx context.Context, argv, env []string) *exec.Cmd {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir = "/"
	c.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	return c
}

// A Head keeps the beginning of what is written, and drops the rest.
type Head struct {
	Most int // bytes
	b    []byte
	over bool
}

// Write implements io.Writer.
func (w *Head) Write(b []byte) (int, error) {
	room := min(len(b), w.Most-len(w.b))
	w.over = w.over || room < len(b)
	w.b = append(w.b, b[:room]...)
	return len(b), nil
}

// Bytes is what was kept.
func (w *Head) Bytes() []byte { return w.b }

// Over tells whether something was dropped.
func (w *Head) Over() bool { return w.over }

// Line is what was kept as one line that prints.
func (w *Head) Line() string {
	return strings.Join(strings.FieldsFunc(string(w.b), func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }), " ")
}

// ErrTimeout is a program that did not end in its time.
var ErrTimeout = errors.New("it ran for too long")

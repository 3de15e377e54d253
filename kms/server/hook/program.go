package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A Program is run for each notice, one at a time, without a shell: the
// notice as JSON on its standard input, its main fields in the environment,
// and nothing else of ours.
type Program struct {
	argv    []string
	timeout time.Duration
}

// NewProgram checks that the program is there.
func NewProgram(argv []string, timeout time.Duration) (*Program, error) {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return nil, fmt.Errorf("the program %q must be named by its whole path", strings.Join(argv, " "))
	}
	info, err := os.Stat(argv[0])
	if err != nil {
		return nil, err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("%s is no program", argv[0])
	}
	if timeout <= 0 || timeout > time.Hour {
		return nil, fmt.Errorf("the timeout %s must be more than nothing and at most an hour", timeout)
	}
	return &Program{argv, timeout}, nil
}

func (p *Program) String() string { return p.argv[0] }

// maxOutput is what is kept of what a program prints, for the log.
const maxOutput = 1 << 10

func (p *Program) deliver(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	said := &bounded{}
	c := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(m.body), said, said
	c.Dir = "/"
	c.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LATCHKEY_EVENT=" + m.Event, "LATCHKEY_STATUS=" + m.Status, "LATCHKEY_REASON=" + m.Reason,
		"LATCHKEY_NODE=" + m.Node, "LATCHKEY_WORDS=" + m.Words, "LATCHKEY_FROM=" + m.From, "LATCHKEY_LINK=" + m.Link,
	}

	// The whole group goes, with what the program started.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	err := c.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: it ran for longer than %s", errFinal, p.timeout)
	}

	return fmt.Errorf("%w: %w: %q", errFinal, err, said.text())
}

// bounded keeps the beginning of what is written.
type bounded struct{ b []byte }

func (w *bounded) Write(b []byte) (int, error) {
	w.b = append(w.b, b[:min(len(b), maxOutput-len(w.b))]...)
	return len(b), nil
}

func (w *bounded) text() string { return strings.TrimSpace(string(w.b)) }

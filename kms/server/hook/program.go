package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/internal/program"
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
	if err := program.Check(argv); err != nil {
		return nil, err
	}
	if err := program.CheckTimeout(timeout); err != nil {
		return nil, err
	}
	return &Program{argv, timeout}, nil
}

func (p *Program) String() string { return p.argv[0] }

// maxOutput is what is kept of what a program prints, for the log.
const maxOutput = 1 << 10

func (p *Program) deliver(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	said := &program.Head{Most: maxOutput}
	c := program.Command(ctx, p.argv, []string{
		"LATCHKEY_EVENT=" + m.Event, "LATCHKEY_STATUS=" + m.Status, "LATCHKEY_REASON=" + m.Reason,
		"LATCHKEY_NODE=" + m.Node, "LATCHKEY_WORDS=" + m.Words, "LATCHKEY_FROM=" + m.From, "LATCHKEY_LINK=" + m.Link,
	})
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(m.body), said, said
	err := c.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: it ran for longer than %s", errFinal, p.timeout)
	}

	text := string(said.Bytes())
	if m.Link != "" { // it may be one that approves
		text = strings.ReplaceAll(text, m.Link, "(the link)")
	}
	return fmt.Errorf("%w: %w: %q", errFinal, err, strings.TrimSpace(text))
}

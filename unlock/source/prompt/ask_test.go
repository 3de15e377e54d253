package prompt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/unlock/source/prompt"
)

// A desk is a console at which lines are typed; "" is the end of the input.
type desk struct {
	lines []string
	said  []string
	err   error
	ended chan struct{}
}

func (d *desk) Write(p []byte) (int, error) {
	d.said = append(d.said, string(p))
	return len(p), d.err
}

func (d *desk) Read(p []byte) (int, error) {
	if len(d.lines) == 0 {
		<-d.ended
		return 0, io.ErrClosedPipe
	}
	line := d.lines[0]
	d.lines = d.lines[1:]
	if line == "" {
		return 0, io.EOF
	}
	return copy(p, line), nil
}

func (d *desk) Close() error {
	select {
	case <-d.ended:
	default:
		close(d.ended)
	}
	return nil
}

func asked(d *desk, turn prompt.Turn) *prompt.Prompt {
	d.ended = make(chan struct{})
	return &prompt.Prompt{Console: func() (io.ReadWriteCloser, error) { return d, nil }, Turn: turn, Log: slog.New(slog.DiscardHandler)}
}

// TestAsk: a question is asked until there is a line, which may be empty.
func TestAsk(t *testing.T) {
	for _, row := range []struct {
		name, want string
		lines      []string
		asked      int
		err        error
	}{
		{"a line", "1234", []string{"1234\n"}, 1, nil},
		{"Enter", "", []string{"\r"}, 1, nil},
		{"nobody there, at first", "1234", []string{"", "", "12", "34\n"}, 3, nil},
		{"a console that fails", "", nil, 1, io.ErrShortWrite},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &desk{lines: row.lines, err: row.err}
			line, err := asked(d, nil).Ask(t.Context(), "PIN")
			if !errors.Is(err, row.err) || string(line.Reveal()) != row.want || len(d.said) != row.asked || d.said[0] != "\r\nlatchkey: PIN: " {
				t.Errorf("%s: Ask = %q, %v after %q", row.name, line.Reveal(), err, d.said)
			}
		})
	}
}

// TestAskEnds: a question goes with the boot, also one whose turn has not come.
func TestAskEnds(t *testing.T) {
	for _, held := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			turn := prompt.NewTurn()
			if held {
				turn <- struct{}{}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			d := &desk{}
			_, err := asked(d, turn).Ask(ctx, "PIN")
			if !errors.Is(err, context.DeadlineExceeded) || (len(d.said) == 0) != held {
				t.Errorf("held %t: Ask = %v after %q", held, err, d.said)
			}
			if got := fmt.Sprint(len(turn)); got != map[bool]string{true: "1", false: "0"}[held] {
				t.Errorf("held %t: the turn is taken %s times afterwards", held, got)
			}
		})
	}
}

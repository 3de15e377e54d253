package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/secret"
	"latchkey/internal/strictyaml"
	"latchkey/unlock/luks2"
)

// tries is how often a person is asked the same.
const tries = 3

// An over is the error of a question that nobody will answer any more.
type over struct{ error }

func (o *over) Unwrap() error { return o.error }

// asked has a question answered until the answer can be meant.
func (o *setup) asked(text, flag, proposal string, take func(answer string) error) error {
	return o.again(func() error {
		answer, err := o.question(text, flag, proposal)
		if err != nil {
			return err
		}
		return take(answer)
	})
}

// again asks a person: at a terminal up to three times. What a script answers
// wrongly it answers wrongly again.
func (o *setup) again(ask func() error) error {
	for try := 1; ; try++ {
		err := ask()
		_, nobody := errors.AsType[*over](err)
		if err == nil || nobody || !o.terminal || o.yes || try == tries {
			return err
		}
		fmt.Fprintf(o.out, "%s. Once more, please.\n", cli.OneLine(err.Error()))
	}
}

// readLine reads one with its end. An interrupt ends the wait for it: the
// program then goes on to say what was done, and the terminal echoes again.
func (o *setup) readLine() ([]byte, error) {
	type read struct {
		line []byte
		err  error
	}
	all := make(chan read, 1)
	go func() {
		line, err := o.in.ReadBytes('\n')
		all <- read{line, err}
	}()
	select {
	case r := <-all:
		return r.line, r.err
	case <-o.interrupt:
		return nil, errInterrupted
	}
}

var errInterrupted = errors.New("interrupted")

// line reads one; what ends without any is an error.
func (o *setup) line() (string, error) {
	line, err := o.readLine()
	if !o.terminal {
		fmt.Fprintln(o.out)
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return strings.TrimSpace(string(line)), err
}

// agreed fails unless a person agrees.
func (o *setup) agreed(text string) error {
	if o.yes {
		return nil
	}
	yes := false
	err := o.again(func() error {
		fmt.Fprint(o.out, "\n"+text+" [yes/no] ")
		line, err := o.line()
		switch {
		case errors.Is(err, errInterrupted):
			return &over{err}
		case err != nil:
			return &over{cli.Usagef("%s There is no answer: give --yes", text)}
		case line != "yes" && line != "y" && line != "no" && line != "n":
			return cli.Usagef("%.40q is neither yes nor no", line)
		}
		yes = line[0] == 'y'
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w; nothing was done", err)
	case !yes:
		return errors.New("nothing was done")
	}
	return nil
}

// open tells whether a key opens all volumes that were chosen.
func (m *machine) open(ctx context.Context, key secret.Bytes) error {
	for _, v := range m.chosen {
		f, h, err := readVolume(v.path)
		if err != nil {
			return err
		}
		volume, _, err := h.Unlock(ctx, f, attempt(key, luks2.AnySlot))
		f.Close()
		if err != nil {
			return volumeExit(v.path, fmt.Errorf("volume %s: %w", v.name, err))
		}
		volume.Wipe()
	}
	return nil
}

// answerFile is the text of --answers: of a file, or of standard input. A
// pipe that nobody writes to would be waited for for ever.
func answerFile(path string, stdin io.Reader) ([]byte, error) {
	if path != "-" {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return nil, cli.Usagef("--answers %s: it is no regular file (- is standard input)", path)
		}
		return datafile.Read(path, strictyaml.MaxBytes)
	}
	text, err := io.ReadAll(io.LimitReader(stdin, strictyaml.MaxBytes+1))
	if err == nil && len(text) > strictyaml.MaxBytes {
		err = cli.Usagef("--answers: standard input has more than %d bytes", strictyaml.MaxBytes)
	}
	return text, err
}

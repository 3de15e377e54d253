package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"latchkey/internal/secret"
)

// Pauses of the prompt: after the end of the input (Ctrl-D, or nobody
// there), doubled up to the most, and before a console that failed is
// opened again; and how often that is tried.
const (
	endPause     = time.Second
	mostPause    = time.Minute
	consolePause = 5 * time.Second
	consoleTries = 12
)

// prompt is the source of what people type at the console: a passphrase,
// the recovery key, say. It ends with ctx, or when the console is of no
// use.
func (w *worker) prompt(ctx context.Context, to chan<- answer) (err error) {
	for range consoleTries {
		if err = w.promptOnce(ctx, to); ctx.Err() != nil {
			return ctx.Err()
		}
		w.log.Warn("the console failed", "err", err)
		if err := sleep(ctx, consolePause); err != nil {
			return err
		}
	}
	return fmt.Errorf("asking at the console: %w", err)
}

// promptOnce asks until the console fails.
func (w *worker) promptOnce(ctx context.Context, to chan<- answer) error {
	console, err := w.sys.Console()
	if err != nil {
		return err
	}
	defer console.Close()
	defer context.AfterFunc(ctx, func() { console.Close() })()
	pause := endPause
	for {
		if _, err := fmt.Fprint(console, "\r\nlatchkey: recovery passphrase: "); err != nil {
			return err
		}
		line, err := readLine(console)
		switch {
		case ctx.Err() != nil:
			line.Wipe()
			return ctx.Err()
		case errors.Is(err, io.EOF):
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			pause = min(2*pause, mostPause)
			continue
		case err != nil:
			return err
		case line.Len() == 0:
			continue
		}

		pause = endPause
		if err := offer(ctx, console, to, line); err != nil {
			return err
		}
	}
}

// offer hands a line on and shows what it opened.
func offer(ctx context.Context, console io.Writer, to chan<- answer, line secret.Bytes) error {
	reply := make(chan string, 1)
	select {
	case to <- answer{source: "prompt", line: line, reply: reply}:
	case <-ctx.Done():
		line.Wipe()
		return ctx.Err()
	}

	select {
	case text := <-reply:
		_, err := fmt.Fprintf(console, "\r\nlatchkey: %s\r\n", text)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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

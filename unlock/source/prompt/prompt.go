// Package prompt is the source of what people type at the console.
package prompt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/source"
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

// A Prompt asks people: for a passphrase, the recovery key, say. Its Run
// ends with ctx, or when the console is of no use.
type Prompt struct {
	// Console opens the console for a question: without echo, and without
	// what was typed before. Close ends a Read that waits.
	Console func() (io.ReadWriteCloser, error)
	// Turn is held while it asks, if others ask there, too.
	Turn Turn
	Log  *slog.Logger
}

// Run implements source.Source.
func (p *Prompt) Run(ctx context.Context, to source.Opener) (err error) {
	for range consoleTries {
		if err = p.once(ctx, to); ctx.Err() != nil {
			return ctx.Err()
		}
		p.Log.Warn("the console failed", "err", err)
		if err := sleep(ctx, consolePause); err != nil {
			return err
		}
	}
	return fmt.Errorf("asking at the console: %w", err)
}

// once asks until the console fails.
func (p *Prompt) once(ctx context.Context, to source.Opener) error {
	done, err := p.Turn.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	console, err := p.Console()
	if err != nil {
		return err
	}
	defer console.Close()
	pause := endPause
	for {
		if _, err := fmt.Fprint(console, "\r\nlatchkey: recovery passphrase: "); err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { console.Close() })
		line, err := readLine(console)
		switch {
		case !stop(): // ctx has ended
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
		text := try(ctx, to, line) // it may end ctx: the answer is shown all the same
		_, err = fmt.Fprintf(console, "\r\nlatchkey: %s\r\n", text)
		if err := cmp.Or(ctx.Err(), err); err != nil {
			return err
		}
	}
}

// try opens what a typed line opens, and returns what to tell the one who
// typed it.
func try(ctx context.Context, to source.Opener, line secret.Bytes) string {
	defer line.Wipe()
	var offer source.Offer
	for _, v := range to.Closed() {
		offer.Keys = append(offer.Keys, source.Key{Volume: v, Passphrases: func(context.Context) ([]unlock.Candidate, error) {
			return candidates(line), nil
		}})
	}

	opened := 0
	var closed []string
	for i, err := range to.Try(ctx, offer) {
		if v := offer.Keys[i].Volume; err == nil {
			opened++
		} else if to.Needed(v) {
			closed = append(closed, v.Name)
		}
	}
	text := fmt.Sprintf("%d of %d volumes open with what was typed", opened, len(offer.Keys))
	if len(closed) > 0 {
		text += "; still closed: " + strings.Join(closed, ", ")
	}
	return text
}

// candidates are the passphrases that a typed line may stand for.
func candidates(line secret.Bytes) (all []unlock.Candidate) {
	if key, ok := recoveryKey(line); ok {
		all = append(all, unlock.Candidate{Passphrase: key})
	}
	return append(all, unlock.Candidate{Passphrase: line.Clone()})
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

package prompt

import (
	"context"
	"errors"
	"fmt"
	"io"

	"latchkey/internal/secret"
)

// A Turn is held by who asks at the console: one question at a time.
type Turn chan struct{}

// NewTurn makes a Turn that nobody holds.
func NewTurn() Turn { return make(Turn, 1) }

// take waits for the turn. A nil Turn is of a console that nobody shares.
func (t Turn) take(ctx context.Context) (done func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Ask asks one question at the console, when nobody else asks there, and
// returns the line that was typed, which may be empty. The end of the input is
// no answer.
func (p *Prompt) Ask(ctx context.Context, question string) (secret.Bytes, error) {
	done, err := p.Turn.take(ctx)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer done()
	console, err := p.Console()
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("asking at the console: %w", err)
	}
	defer console.Close()
	stop := context.AfterFunc(ctx, func() { console.Close() })
	defer stop()
	for pause := endPause; ; pause = min(2*pause, mostPause) {
		if _, err := fmt.Fprintf(console, "\r\nlatchkey: %s: ", question); err != nil {
			return secret.Bytes{}, over(ctx, err)
		}
		line, err := readLine(console)
		switch {
		case ctx.Err() != nil:
			line.Wipe()
			return secret.Bytes{}, ctx.Err()
		case errors.Is(err, io.EOF):
			if err := sleep(ctx, pause); err != nil {
				return secret.Bytes{}, err
			}
		case err != nil:
			return secret.Bytes{}, fmt.Errorf("asking at the console: %w", err)
		default:
			return line, nil
		}
	}
}

// over is the error of a console that was closed because ctx ended.
func over(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("asking at the console: %w", err)
}

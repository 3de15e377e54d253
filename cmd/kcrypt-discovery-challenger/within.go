package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// limits are how long things may take that no context ends: a TPM, and whoever
// writes to standard input.
type limits struct {
	event   time.Duration // until the event is there
	tpm     time.Duration // keys of a slow TPM take half a minute each
	attempt time.Duration
	// ending is how long what was ended may take to end.
	ending time.Duration
}

var usual = limits{event: 10 * time.Second, tpm: 2 * time.Minute, attempt: 2 * time.Minute, ending: time.Second}

// errStuck is of what did not end when it was to: it is still under way.
var errStuck = errors.New("no answer")

// within runs f until most is over or ctx ends, and waits no longer for it if
// it does not heed that. What names who is waited for then.
func within[T any](ctx context.Context, most, ending time.Duration, what string, f func(ctx context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	inner, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		value, err := f(inner)
		done <- result{value, err}
	}()

	var r result
	select {
	case r = <-done:
	case <-inner.Done():
		select {
		case r = <-done:
		case <-time.After(ending):
			r.err = fmt.Errorf("%s: %w for %s", what, errStuck, most)
		}
	}
	switch {
	case r.err != nil && ctx.Err() != nil:
		r.err = ctx.Err()
	case errors.Is(r.err, context.DeadlineExceeded): // it heeded the end
		r.err = fmt.Errorf("%s: no answer for %s: %w", what, most, r.err)
	}
	return r.value, r.err
}

// kinds are JSON's and Go's types in words.
var kinds = map[string]string{"string": "a text", "bool": "true or false", "number": "a number", "array": "a list", "object": "an object", "struct": "an object", "ptr": "an object"}

// decode reads one JSON value, and not what may follow it: nobody need close
// what it comes from.
func decode(r io.Reader, to any) error {
	bounded := &io.LimitedReader{R: r, N: maxEvent}
	err := json.NewDecoder(bounded).Decode(to)
	syntax, broken := errors.AsType[*json.SyntaxError](err)
	other, mistaken := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case err != nil && bounded.N == 0:
		return fmt.Errorf("it has %d bytes or more", maxEvent)
	case errors.Is(err, io.EOF):
		return errors.New("it is empty, want a JSON object")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends before its JSON object does")
	case broken:
		return fmt.Errorf("it is no JSON from byte %d on", syntax.Offset)
	case mistaken && other.Field == "":
		return fmt.Errorf("it is JSON, but %s instead of an object", kinds[other.Value])
	case mistaken:
		return fmt.Errorf("its %q is %s, want %s", other.Field, kinds[other.Value], kinds[other.Type.Kind().String()])
	}
	return err
}

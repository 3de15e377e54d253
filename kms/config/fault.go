package config

import (
	"errors"
	"fmt"
	"strings"
)

// A fault is what is wrong with one key.
type fault struct {
	key string // a path: listen[0].tls.cert
	err error
}

func (f *fault) Error() string { return f.key + ": " + f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// faultf says what is wrong with a key of the section that calls it; "" is
// the section itself.
func faultf(key, format string, args ...any) error {
	return &fault{key, fmt.Errorf(format, args...)}
}

// under puts a fault below a section's key.
func under(name string, err error) error {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return &fault{name, err}
	}
	if f.key == "" || strings.HasPrefix(f.key, "[") {
		return &fault{name + f.key, f.err}
	}
	return &fault{name + "." + f.key, f.err}
}

// locate puts the file's line, or the flag, before a fault.
func (c *Config) locate(err error) error {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return err
	}
	at, known := c.where.Of(f.key)
	switch {
	case known && strings.HasPrefix(at, "--"):
		return fmt.Errorf("%s: %w", at, f.err)
	case known:
		return fmt.Errorf("%s: %w", at, f)
	}
	return f
}

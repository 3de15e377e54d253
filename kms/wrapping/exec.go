package wrapping

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"latchkey/internal/program"
	"latchkey/internal/secret"
)

// A Program keeps the key by programs of the operator's: docs/wrapping.md
// has the contract. UnwrapArgs gets the material on its standard input and
// writes the key, as 32 bytes or in base64; WrapArgs the reverse.
type Program struct {
	WrapArgs, UnwrapArgs []string
	Env                  []string // NAME=value
	Timeout              time.Duration
}

// maxSaid is what is kept of a program's complaints, in bytes.
const maxSaid = 512

var _ Driver = Program{}

// Wrap implements Driver. What it returns is not the key: a program that
// gives back what it got would leave the key beside the database.
func (p Program) Wrap(ctx context.Context, key secret.Bytes) ([]byte, error) {
	if len(p.WrapArgs) == 0 {
		return nil, errors.New("wrapping the key: wrapping.exec has no wrap; name the program that encrypts")
	}
	out, err := p.run(ctx, p.WrapArgs, key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("wrapping the key: %w", err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("wrapping the key: %s wrote nothing", p.WrapArgs[0])
	}
	if shows(out, key) {
		clear(out)
		return nil, fmt.Errorf("wrapping the key: what %s wrote has the key in it, not encrypted", p.WrapArgs[0])
	}
	return out, nil
}

// shows tells whether text has a key in it as it is, in base64 or in hex.
func shows(text []byte, key secret.Bytes) bool {
	for _, form := range [][]byte{
		key.Reveal(), []byte(base64.RawStdEncoding.EncodeToString(key.Reveal())), []byte(base64.RawURLEncoding.EncodeToString(key.Reveal())),
		[]byte(hex.EncodeToString(key.Reveal())), bytes.ToUpper([]byte(hex.EncodeToString(key.Reveal()))),
	} {
		if bytes.Contains(text, form) {
			return true
		}
	}
	return false
}

// Unwrap implements Driver. What a program fails by may pass unless it says
// otherwise: we cannot tell a service that is away from one that says no.
func (p Program) Unwrap(ctx context.Context, material string) (secret.Bytes, error) {
	blob, err := readMaterial(material)
	if err != nil {
		return secret.Bytes{}, err
	}
	out, err := p.run(ctx, p.UnwrapArgs, blob)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("unwrapping the wrapping key: %w", err)
	}
	key, err := parseKey(out)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("unwrapping the wrapping key: %s: %w", p.UnwrapArgs[0], err)
	}
	return key, nil
}

// parseKey reads a key of 32 bytes, or base64 of them in one line, and wipes
// what it does not return.
func parseKey(out []byte) (secret.Bytes, error) {
	if len(out) == KeySize {
		return secret.Own(out), nil
	}
	defer clear(out)
	key := make([]byte, base64.StdEncoding.DecodedLen(len(out)))
	if n, err := base64.StdEncoding.Strict().Decode(key, bytes.TrimRight(out, "\r\n")); err == nil && n == KeySize {
		return secret.Own(key[:n]), nil
	}
	clear(key)
	return secret.Bytes{}, fmt.Errorf("it wrote %d bytes, which are neither a key of %d bytes nor base64 of one", len(out), KeySize)
}

// final are the exit codes after which another try is of no use, or does
// harm: EX_USAGE and EX_NOPERM of sysexits.h.
var final = []int{64, 77}

// run runs a program and returns what it wrote.
func (p Program) run(ctx context.Context, argv []string, in []byte) ([]byte, error) {
	if err := program.Check(argv); err != nil {
		return nil, fmt.Errorf("%w: %w; install it, or name another in wrapping.exec", ErrSetup, err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	env := p.Env
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" { // a path, where a PIN or a token may be
		env = append([]string{"CREDENTIALS_DIRECTORY=" + dir}, env...)
	}

	c := program.Command(ctx, argv, env)
	out, said := &program.Head{Most: maxMaterial}, &program.Head{Most: maxSaid}
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(in), out, said
	err := c.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("%w: %s: %w (%s)", ErrAway, argv[0], program.ErrTimeout, p.Timeout)
	case errors.Is(err, exec.ErrWaitDelay): // something it started holds its output
		err = fmt.Errorf("%s ended and left a process behind that holds its output", argv[0])
	case c.ProcessState != nil && slices.Contains(final, c.ProcessState.ExitCode()):
		err = fmt.Errorf("%w: %s: %w%s", ErrRefused, argv[0], err, quoted(said.Line()))
	case err != nil:
		err = fmt.Errorf("%w: %s: %w%s", ErrAway, argv[0], err, quoted(said.Line()))
	case out.Over():
		err = fmt.Errorf("%s wrote more than %d bytes", argv[0], maxMaterial)
	}
	if err != nil {
		clear(out.Bytes())
		return nil, err
	}
	return out.Bytes(), nil
}

// quoted is what a program complained of, if it did.
func quoted(line string) string {
	if line == "" {
		return ""
	}
	return ": " + line
}

package wrapping

import (
	"context"
	"errors"
	"fmt"
	"os"

	"latchkey/internal/datafile"
	"latchkey/internal/secret"
)

// A Driver keeps a wrapping key: it makes material of it, a small file in
// the data directory, and gets the key back with what somebody else has.
type Driver interface {
	// Wrap makes material that Unwrap turns into the key again.
	Wrap(ctx context.Context, key secret.Bytes) (material []byte, err error)
	// Unwrap gets the key by the file of its material. Its error wraps
	// ErrAway if another try may succeed though nobody changes anything here.
	Unwrap(ctx context.Context, material string) (secret.Bytes, error)
}

// ErrAway is a key that cannot be had now: who holds it did not answer, or
// did not give it.
var ErrAway = errors.New("the wrapping key cannot be had now")

// ErrRefused is a key that no other try will give until a person corrects
// something, such as a wrong PIN: a token locks itself after a few.
var ErrRefused = errors.New("the wrapping key is refused")

// ErrSetup is what this host has not that the configuration names, such as a
// program: no passing state, and nothing that the key's keeper said.
var ErrSetup = errors.New("what keeps the wrapping key is not here")

// maxMaterial bounds what a driver keeps, in bytes: no service of today
// makes more than 6 KiB of 32 bytes.
const maxMaterial = 64 << 10

// readMaterial reads what Wrap made.
func readMaterial(path string) ([]byte, error) {
	b, err := datafile.Read(path, maxMaterial)
	if err != nil {
		return nil, fmt.Errorf("reading the wrapped wrapping key: %w", err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("reading the wrapped wrapping key: %s is empty", path)
	}
	return b, nil
}

// File keeps the key itself.
type File struct{}

// Wrap implements Driver.
func (File) Wrap(_ context.Context, key secret.Bytes) ([]byte, error) {
	return key.Clone().Reveal(), nil
}

// Unwrap implements Driver.
func (File) Unwrap(_ context.Context, material string) (secret.Bytes, error) {
	return ReadFile(material)
}

// Passphrase derives a key from a file of its own. The material is a salt.
type Passphrase string

// Derives tells that the key is none that Wrap was given.
func (Passphrase) Derives() bool { return true }

// Wrap implements Driver: a new salt makes a new key.
func (Passphrase) Wrap(context.Context, secret.Bytes) ([]byte, error) {
	return secret.Random(SaltSize).Reveal(), nil
}

// Unwrap implements Driver.
func (p Passphrase) Unwrap(_ context.Context, material string) (secret.Bytes, error) {
	return Derive(string(p), material)
}

// A Chip is the host's TPM, which gives the key while these PCRs are as they
// were when Wrap was called.
type Chip struct {
	Path string
	PCRs []int
}

// Wrap implements Driver.
func (c Chip) Wrap(_ context.Context, key secret.Bytes) ([]byte, error) {
	bus, err := Open(c.Path)
	if err != nil {
		return nil, err
	}
	defer bus.Close()
	return Seal(bus, key, c.PCRs)
}

// Unwrap implements Driver.
func (c Chip) Unwrap(_ context.Context, material string) (secret.Bytes, error) {
	blob, err := os.ReadFile(material)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the sealed wrapping key: %w", err)
	}
	bus, err := Open(c.Path)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer bus.Close()
	return Unseal(bus, blob)
}

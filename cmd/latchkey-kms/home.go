package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/store"
)

func (o *options) mark() server.MarkFile {
	return server.MarkFile(filepath.Join(o.data, "epoch"))
}
func (o *options) socket() string { return filepath.Join(o.data, "admin.sock") }

// wrappingPath is where the wrapping key is: named, a systemd credential,
// or a file beside the database, which protects against the loss of a
// backup but not of the disk.
func (o *options) wrappingPath() string {
	if o.wrapping != "" {
		return o.wrapping
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		path := filepath.Join(dir, "latchkey-kms.wrapping-key")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return filepath.Join(o.data, "wrapping.key")
}

// create makes a new KMS. What is there already stays as it is.
func (o *options) create(ctx context.Context) (pin string, err error) {
	p, err := o.place()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return "", err
	}
	if _, err := os.Lstat(p.path); !p.shared() && err == nil {
		return "", fmt.Errorf("initialising: there is a KMS in %s already; nothing was changed", o.data)
	}
	if _, err := o.mark().Read(); p.shared() && err == nil {
		return "", fmt.Errorf("initialising: %s is a KMS' data directory already; nothing was changed. Name another with --data", o.data)
	}
	st, made, err := o.beginStore(ctx, p)
	if err != nil {
		return "", err
	}
	defer st.Close()
	wrapping, err := o.wrappingKey()
	if err == nil {
		defer wrapping.Wipe()
		var public kms.Pin
		public, err = server.Initialise(ctx, st, wrapping, o.mark())
		pin = public.String()
	}
	if err != nil && made {
		st.Close()
		os.Remove(p.path)
	}
	return pin, err
}

// beginStore opens an empty store; it may make a file for it.
func (o *options) beginStore(ctx context.Context, p place) (st store.Store, made bool, err error) {
	if st, err = o.openStore(ctx, p, true); err != nil || !p.shared() {
		return st, err == nil, err
	}
	holds, err := server.Holds(st)
	if err == nil && holds {
		err = fmt.Errorf("initialising: there is a KMS at %s already; nothing was changed. To start one more server on it: latchkey-kms init --join", p)
	}
	if err != nil {
		st.Close()
	}
	return st, false, err
}

// join makes this host ready for one more server on a KMS that is there:
// its high-water mark begins at what is found and verified.
func (o *options) join(ctx context.Context) (server.Checked, string, error) {
	p, err := o.place()
	if err != nil {
		return server.Checked{}, "", err
	}
	if !p.shared() {
		return server.Checked{}, "", cli.Usagef("--join is for a store that several servers share: name it with --store")
	}
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return server.Checked{}, "", err
	}
	var mark server.Mark = o.mark()
	if _, err := mark.Read(); errors.Is(err, fs.ErrNotExist) {
		mark = &freeMark{}
	}
	s, err := o.openAt(ctx, p, mark, server.Config{})
	if err != nil {
		return server.Checked{}, "", err
	}
	defer s.Close()
	c, err := s.Check()
	if err != nil {
		return c, "", err
	}
	return c, s.Pins()[0].String(), o.mark().Write(c.Epoch)
}

// readWrapping reads or derives the wrapping key.
func (o *options) readWrapping() (secret.Bytes, error) {
	if o.passphrase != "" {
		return server.DeriveWrappingKey(o.passphrase, filepath.Join(o.data, "wrapping.salt"))
	}
	return server.ReadWrappingKey(o.wrappingPath())
}

// wrappingKey reads the wrapping key, or makes one where it will be looked
// for.
func (o *options) wrappingKey() (secret.Bytes, error) {
	if o.passphrase != "" {
		salt := secret.Random(16)
		if err := server.WriteFile(filepath.Join(o.data, "wrapping.salt"), salt.Reveal()); err != nil {
			return secret.Bytes{}, fmt.Errorf("writing the wrapping salt: %w", err)
		}
		return o.readWrapping()
	}
	path := o.wrappingPath()
	if _, err := os.Stat(path); err == nil {
		return server.ReadWrappingKey(path)
	}
	key := secret.Random(32)
	if err := server.WriteFile(path, key.Reveal()); err != nil {
		return secret.Bytes{}, fmt.Errorf("writing the wrapping key: %w", err)
	}
	return key, nil
}

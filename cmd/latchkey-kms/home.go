package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"latchkey/internal/secret"
	"latchkey/kms/server"
	"latchkey/kms/store/bolt"
)

func (o *options) database() string { return filepath.Join(o.data, "kms.db") }
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

// open opens the KMS in this process.
func (o *options) open(enroll server.Enrollment, log *slog.Logger, protocols ...server.Protocol) (*server.Server, error) {
	if _, err := os.Stat(o.database()); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the KMS: there is none in %s; make one with: latchkey-kms init --data %s", o.data, o.data)
	}
	return o.openFile(o.database(), o.mark(), enroll, log, protocols...)
}

func (o *options) openFile(path string, mark server.Mark, enroll server.Enrollment, log *slog.Logger, protocols ...server.Protocol) (*server.Server, error) {
	wrapping, err := o.readWrapping()
	if err != nil {
		return nil, err
	}
	defer wrapping.Wipe()
	db, err := bolt.Open(path, false, server.Tables())
	if err != nil {
		return nil, err
	}
	s, err := server.Open(server.Config{Store: db, Wrapping: wrapping, Mark: mark, Enroll: enroll, Log: log, Protocols: protocols})
	if err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

// create makes a new KMS. What is there already stays as it is.
func (o *options) create(ctx context.Context) (pin string, err error) {
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return "", err
	}
	if _, err := os.Lstat(o.database()); err == nil {
		return "", fmt.Errorf("initialising: there is a KMS in %s already; nothing was changed", o.data)
	}
	wrapping, err := o.wrappingKey()
	if err != nil {
		return "", err
	}
	defer wrapping.Wipe()
	db, err := bolt.Open(o.database(), true, server.Tables())
	if err != nil {
		return "", err
	}
	defer db.Close()
	p, err := server.Initialise(ctx, db, wrapping, o.mark())
	if err != nil {
		db.Close()
		os.Remove(o.database())
		return "", err
	}
	return p.String(), nil
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

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/store"
)

func (o *options) mark() server.MarkFile {
	return server.MarkFile(filepath.Join(o.data, "epoch"))
}
func (o *options) socket() string { return filepath.Join(o.data, "admin.sock") }

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
		return "", fmt.Errorf("initializing: there is a KMS in %s already; nothing was changed", o.data)
	}

	if _, err := o.mark().Read(); p.shared() && err == nil {
		return "", fmt.Errorf("initializing: %s is a KMS' data directory already; nothing was changed. Name another with --data", o.data)
	}
	st, made, err := o.beginStore(ctx, p)
	if err != nil {
		return "", err
	}
	defer st.Close()
	wrapping, err := o.wrap.in(o.data).make(o.pcrs)
	if err == nil {
		defer wrapping.Wipe()
		var public kms.Pin
		public, err = server.Initialize(ctx, st, wrapping, o.mark())
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
		err = fmt.Errorf("initializing: there is a KMS at %s already; nothing was changed. To start one more server on it: latchkey-kms init --join", p)
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

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"latchkey/internal/cli"
	kubeapi "latchkey/internal/kube"
	"latchkey/internal/secret"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/store/etcd"
	"latchkey/kms/store/kube"
	"latchkey/kms/store/mirror"
)

// place is where this KMS' store is.
func (o *options) place() (place, error) {
	if err := o.store.check(); err != nil {
		return place{}, cli.Usagef("--store: %w", err)
	}
	if o.store.At == "" {
		return place{kind: "bolt", path: filepath.Join(o.data, "kms.db")}, nil
	}
	return parsePlace(o.store.At, o.store)
}

// open opens the KMS in this process.
func (o *options) open(enroll server.Enrollment, log *slog.Logger, protocols ...server.Protocol) (*server.Server, error) {
	p, err := o.place()
	if err != nil {
		return nil, err
	}
	return o.openAt(context.Background(), p, o.mark(), server.Config{Enroll: enroll, Log: log, Protocols: protocols})
}

// openAt opens a KMS wherever it is, and verifies it.
func (o *options) openAt(ctx context.Context, p place, mark server.Mark, c server.Config) (*server.Server, error) {
	if _, err := os.Stat(p.path); p.kind == "bolt" && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the KMS: there is none in %s; make one with: latchkey-kms init --data %s", filepath.Dir(p.path), filepath.Dir(p.path))
	}
	st, err := o.openStore(ctx, p, false)
	if errors.Is(err, fs.ErrNotExist) && p.shared() {
		return nil, fmt.Errorf("opening the KMS: there is none at %s; make one with: latchkey-kms init --store %s", p, p)
	}
	if err != nil {
		return nil, err
	}

	c.Store, c.Shared, c.Mark = st, p.shared(), mark
	s, err := o.openOn(c)
	if err != nil {
		st.Close()
	}
	return s, err
}

// openOn opens a KMS on a store that is open, and verifies it.
func (o *options) openOn(c server.Config) (*server.Server, error) {
	return o.wrap.in(o.data).opening(func(key secret.Bytes) (*server.Server, error) {
		c.Wrapping = key
		return server.Open(c)
	})
}

// openStore opens a store as it is; create begins one where there is none.
func (o *options) openStore(ctx context.Context, p place, create bool) (store.Store, error) {
	if !p.shared() {
		return openPlace(ctx, p, create)
	}
	lock, err := o.lock()
	if err != nil {
		return nil, err
	}
	st, err := openPlace(ctx, p, create)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &locked{st, lock}, nil
}

// openPlace opens a store without locking the data directory.
func openPlace(ctx context.Context, p place, create bool) (store.Store, error) {
	if !p.shared() {
		return bolt.Open(p.path, create, server.Tables())
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tables := mirror.Config{Tables: server.Tables(), Logs: server.LogTables(), Passing: server.PassingTables()}
	if p.kind == "kube" {
		client, err := p.kubeClient()
		if err != nil {
			return nil, fmt.Errorf("opening the store: %w", err)
		}
		return kube.Open(ctx, kube.Config{Client: client, Namespace: p.namespace, Name: p.name, Create: create, Config: tables})
	}

	c, err := p.clientTLS()
	if err != nil {
		return nil, err
	}
	return etcd.Open(ctx, etcd.Config{Endpoints: p.endpoints, Prefix: p.prefix, TLS: c, MaxOps: p.maxOps, Create: create, Config: tables})
}

func (p place) kubeClient() (*kubeapi.Client, error) {
	return kubeapi.New(kubeapi.Config{Server: p.server, CA: p.ca, Token: p.token, Cert: p.cert, Key: p.key})
}

// clientTLS is nil where there is none. Our own certificate is read again
// for each connection, so that it can be renewed.
func (p place) clientTLS() (*tls.Config, error) {
	if !strings.HasPrefix(p.endpoints[0], "https:") {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.ca != "" {
		pem, err := os.ReadFile(p.ca)
		if err != nil {
			return nil, fmt.Errorf("reading the store's authority: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the store's authority: %s holds no PEM certificate", p.ca)
		}
	}

	if p.cert != "" {
		if _, err := tls.LoadX509KeyPair(p.cert, p.key); err != nil {
			return nil, fmt.Errorf("reading the certificate for the store: %s with %s: %w", p.cert, p.key, err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(p.cert, p.key)
			return &pair, err
		}
	}

	return c, nil
}

// locked is a store that other hosts share, but no other process of this
// data directory: socket and high-water mark are one server's.
type locked struct {
	store.Store
	lock *os.File
}

func (l *locked) Close() error { return errors.Join(l.Store.Close(), l.lock.Close()) }

// lock takes the data directory, as bolt takes its file.
func (o *options) lock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(o.data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the KMS: there is no data directory %s; make it with: latchkey-kms init, or init --join where the store holds a KMS already", o.data)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}

	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Since(start) > time.Second {
			f.Close()
			return nil, fmt.Errorf("locking the data directory %s: %w", o.data, bolt.ErrInUse)
		}
	}
}

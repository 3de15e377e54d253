package home

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"latchkey/internal/certfile"
	"latchkey/internal/datafile"
	"latchkey/internal/kube"
	"latchkey/internal/secret"
	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/store/etcd"
	kubestore "latchkey/kms/store/kube"
	"latchkey/kms/store/mirror"
)

// MaxMachines is how many machines of a protocol a store is for; 0: any
// number. In kube:NAMESPACE every write of every server is an update of one
// object.
func MaxMachines(kind config.PlaceKind) int {
	if kind == config.Kube {
		return 5000
	}
	return 0
}

// Open opens the KMS in this process, and verifies it. Store, mark and
// wrapping key of c are filled in.
func (h Home) Open(ctx context.Context, c server.Config) (*server.Server, error) {
	c.Mark = h.Mark()
	return h.open(ctx, c)
}

// open is Open under the mark of c.
func (h Home) open(ctx context.Context, c server.Config) (*server.Server, error) {
	return h.openKept(ctx, h.keeping(), c)
}

// openKept is open by a key that is kept in this way.
func (h Home) openKept(ctx context.Context, k keeping, c server.Config) (*server.Server, error) {
	if err := h.private(); err != nil {
		return nil, fmt.Errorf("opening the KMS: %w", err)
	}
	p := h.Place
	if _, err := os.Stat(p.Path); !p.Shared() && errors.Is(err, fs.ErrNotExist) {
		dir := filepath.Dir(p.Path)
		return nil, fmt.Errorf("opening the KMS: there is none in %s; create one with: latchkey-kms init --data %s", dir, dir)
	}
	st, err := h.openStore(ctx, false)
	if errors.Is(err, fs.ErrNotExist) && p.Shared() {
		return nil, fmt.Errorf("opening the KMS: there is none at %s; create one with: latchkey-kms init --store %s", p, p)
	}
	if err != nil {
		return nil, err
	}

	c.Store, c.Shared, c.MaxMachines = st, p.Shared(), MaxMachines(p.Kind)
	s, err := k.openOn(ctx, c)
	if err != nil {
		st.Close()
		return nil, err
	}
	Retain(s, h.Retained)
	return s, nil
}

// openOn opens a KMS on a store that is open, and verifies it. Who keeps the
// wrapping key has a limit of its own.
func (h Home) openOn(c server.Config) (*server.Server, error) {
	return h.keeping().openOn(context.Background(), c)
}

func (k keeping) openOn(ctx context.Context, c server.Config) (*server.Server, error) {
	return k.opening(ctx, func(key secret.Bytes) (*server.Server, error) {
		c.Wrapping, c.Again = key, k.again
		return server.Open(c)
	})
}

// openStore opens the store as it is; create begins one where there is none.
func (h Home) openStore(ctx context.Context, create bool) (store.Store, error) {
	if !h.Place.Shared() {
		return openPlace(ctx, h.Place, create)
	}
	lock, err := h.lock()
	if err != nil {
		return nil, err
	}
	st, err := openPlace(ctx, h.Place, create)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &locked{st, lock}, nil
}

// openPlace opens a store without locking the data directory.
func openPlace(ctx context.Context, p config.Place, create bool) (store.Store, error) {
	if !p.Shared() {
		return openFile(p, create)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tables := mirror.Config{Tables: server.Tables(), Logs: server.LogTables(), Passing: server.PassingTables()}
	if p.Kind == config.Kube {
		client, err := Cluster(p)
		if err != nil {
			return nil, fmt.Errorf("opening the store: %w", err)
		}
		return kubestore.Open(ctx, kubestore.Config{Client: client, Namespace: p.Namespace, Name: p.Name, Create: create, Config: tables})
	}

	c := etcd.Config{Endpoints: p.Endpoints, Prefix: p.Prefix, MaxOps: p.MaxOps, Create: create, Config: tables}
	if strings.HasPrefix(p.Endpoints[0], "https:") {
		var err error
		if c.TLS, err = certfile.Client(tls.VersionTLS12, p.CA, p.Cert, p.Key); err != nil {
			return nil, fmt.Errorf("opening the store: %w", err)
		}
	}
	return etcd.Open(ctx, c)
}

// openFile opens a file, or makes it for its directory's owner.
func openFile(p config.Place, create bool) (store.Store, error) {
	open := bolt.Open
	if p.AnyMode {
		open = bolt.OpenAnyMode
	}
	st, err := open(p.Path, create, server.Tables(), server.LogTables()...)
	if err != nil || !create {
		return st, err
	}
	if err := datafile.Own(p.Path); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// Cluster is a client of the API server of a store in a cluster.
func Cluster(p config.Place) (*kube.Client, error) {
	return kube.New(kube.Config{Server: p.Server, CA: p.CA, Token: p.Token, Cert: p.Cert, Key: p.Key})
}

// locked is a store that other hosts share, but no other process of this
// data directory: socket and high-water mark are one server's.
type locked struct {
	store.Store
	lock *os.File
}

// Guard implements store.Watched.
func (l *locked) Guard(f func(store.Step) error) {
	if w, ok := l.Store.(store.Watched); ok {
		w.Guard(f)
	}
}

// Counts implements store.Counter.
func (l *locked) Counts() (n store.Counts) {
	if c, ok := l.Store.(store.Counter); ok {
		n = c.Counts()
	}
	return n
}

var (
	_ store.Watched = (*locked)(nil)
	_ store.Counter = (*locked)(nil)
)

// Close implements store.Store.
func (l *locked) Close() error { return errors.Join(l.Store.Close(), l.lock.Close()) }

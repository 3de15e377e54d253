// Package etcd keeps a KMS' state in etcd, for several key servers at once.
//
// Each row is a key, PREFIX/t/TABLE/KEY. Every transaction also writes
// PREFIX/head and compares its revision with the one that the transaction
// was run on: two that read what the other writes cannot both succeed,
// whatever they read. The head holds the last transactions' random ids, by
// which a server whose connection broke finds out whether its own was done.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/status"

	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
)

// Limits of etcd as it is by default: --max-txn-ops, and --max-request-bytes
// (1.5 MiB) less what a request has beside rows.
const (
	DefaultMaxOps = 128
	maxRequest    = 1_400_000
)

// pageRows is how many rows are read at once.
const pageRows = 500

// again is how often a server that is away is tried: gRPC's own two minutes
// are longer than a boot waits.
var again = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 2 * time.Second,
}

// A Config says which etcd, and where in it.
type Config struct {
	Endpoints []string    // URLs; any that answers will do
	Prefix    string      // of all keys
	TLS       *tls.Config // for https
	MaxOps    int         // etcd's --max-txn-ops; zero is 128
	Create    bool        // begin there if there is nothing

	mirror.Config
}

// Open opens the store. Without Create, one that is not there is
// fs.ErrNotExist.
func Open(ctx context.Context, c Config) (*mirror.DB, error) {
	if c.MaxOps == 0 {
		c.MaxOps = DefaultMaxOps
	}
	if c.Wait == 0 {
		c.Wait = 4 * time.Second
	}

	client, err := clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints, TLS: c.TLS, Logger: zap.NewNop(), MaxUnaryRetries: 3,
		DialTimeout: c.Wait, DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second, PermitWithoutStream: true,
		MaxCallSendMsgSize: 4 << 20,
		DialOptions:        []grpc.DialOption{grpc.WithConnectParams(again)},
	})
	if err != nil {
		return nil, fmt.Errorf("opening etcd: %w", err)
	}

	r := &remote{c: c, client: client, prefix: strings.Trim(c.Prefix, "/") + "/"}
	if c.Create {
		if err := r.create(ctx); err != nil {
			client.Close()
			return nil, err
		}
	}

	return mirror.Open(ctx, r, c.Config)
}

// A remote is mirror.Remote.
type remote struct {
	c      Config
	client *clientv3.Client
	prefix string // ends in a slash

	slot string // this server's, once it was chosen

	mu   sync.Mutex
	head head // the slot's
}

// headKey says that there is a store, and in which form. It never changes.
func (r *remote) headKey() string               { return r.prefix + "head" }
func (r *remote) slotsKey() string              { return r.prefix + "slot/" }
func (r *remote) goneKey(table string) string   { return r.prefix + "gone/" + table }
func (r *remote) tableKey(table string) string  { return r.prefix + "t/" + table + "/" }
func (r *remote) rowKey(table, k string) string { return r.tableKey(table) + k }

// fail says which etcd, and why, on one line.
func (r *remote) fail(doing string, err error) error {
	why := err.Error()
	if s, ok := status.FromError(err); ok {
		why = s.Message()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		why = "no answer in time"
	}
	return fmt.Errorf("%s etcd at %s: %w", doing, strings.Join(r.c.Endpoints, ", "), &outage{why, err})
}

// An outage says less than its cause, which has lines of gRPC's in it.
type outage struct {
	why   string
	cause error
}

func (o *outage) Error() string { return o.why }
func (o *outage) Unwrap() error { return o.cause }

// form is the value of the head key.
const form = "latchkey store 2"

// create writes the head key, unless there is one.
func (r *remote) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.c.Wait)
	defer cancel()
	_, err := r.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(r.headKey()), "=", 0)).
		Then(clientv3.OpPut(r.headKey(), form)).Commit()
	if err != nil {
		return r.fail("writing to", err)
	}
	return nil
}

// Load implements mirror.Remote.
func (r *remote) Load(ctx context.Context, tables []string) (mirror.Version, []mirror.Change, error) {
	first, cancel := context.WithTimeout(ctx, r.c.Wait)
	defer cancel()
	revision, v, all, err := r.heads(first)
	if err != nil {
		return 0, nil, err
	}
	if r.slot == "" {
		if err := r.choose(all); err != nil {
			return 0, nil, err
		}
	}

	var rows []mirror.Change
	for _, t := range tables {
		err := r.pages(ctx, t, "", clientv3.WithRev(revision), func(key string, kv *mvccpb.KeyValue) bool {
			rows = append(rows, mirror.Change{Table: t, Key: key, Value: present(kv.Value), At: kv.ModRevision})
			return true
		})
		if err != nil {
			return 0, nil, err
		}
	}

	return v, rows, nil
}

// heads reads the head and the slots, of one revision.
func (r *remote) heads(ctx context.Context) (revision int64, v mirror.Version, all []*mvccpb.KeyValue, err error) {
	got, err := r.client.Txn(ctx).Then(clientv3.OpGet(r.headKey()), clientv3.OpGet(r.slotsKey(), clientv3.WithPrefix())).Commit()
	if err != nil {
		return 0, 0, nil, r.fail("reading", err)
	}
	marker := got.Responses[0].GetResponseRange().Kvs
	if len(marker) == 0 {
		return 0, 0, nil, r.missing(ctx)
	}
	if string(marker[0].Value) != form {
		return 0, 0, nil, fmt.Errorf("reading etcd: %w: the head below %q is none that this version reads", store.ErrDamaged, r.prefix)
	}
	all = got.Responses[1].GetResponseRange().Kvs
	return got.Header.Revision, max(newest(all), mirror.Version(marker[0].ModRevision)), all, nil
}

// missing tells a store that is not there from one that lost its head.
func (r *remote) missing(ctx context.Context) error {
	got, err := r.client.Get(ctx, r.prefix, clientv3.WithPrefix(), clientv3.WithLimit(1))
	if err != nil {
		return r.fail("reading", err)
	}
	if len(got.Kvs) > 0 {
		return fmt.Errorf("reading etcd: %w: there are rows below %q, and no head", store.ErrDamaged, r.prefix)
	}
	return fmt.Errorf("reading etcd: nothing is below %q: %w", r.prefix, fs.ErrNotExist)
}

// pages reads a table from a key on, so many rows at a time.
func (r *remote) pages(ctx context.Context, table, from string, rev clientv3.OpOption, f func(key string, kv *mvccpb.KeyValue) bool) error {
	prefix := r.tableKey(table)
	end := clientv3.GetPrefixRangeEnd(prefix)
	for next := prefix + from; ; {
		page, cancel := context.WithTimeout(ctx, r.c.Wait)
		got, err := r.client.Get(page, next, clientv3.WithRange(end), clientv3.WithLimit(pageRows), rev)
		cancel()
		if err != nil {
			return r.fail("reading", err)
		}

		for _, kv := range got.Kvs {
			if !f(strings.TrimPrefix(string(kv.Key), prefix), kv) {
				return nil
			}
		}

		if !got.More {
			return nil
		}
		next = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
	}
}

// present is a value that is there: empty, not nil.
func present(value []byte) []byte { return append([]byte{}, value...) }

// Head implements mirror.Remote: the read is linearizable, as etcd's are if
// nothing else is asked for.
func (r *remote) Head(ctx context.Context) (mirror.Version, error) {
	_, v, _, err := r.heads(ctx)
	return v, err
}

// Fits implements mirror.Remote. One operation is the slot's.
func (r *remote) Fits(changes, sizeBytes int) bool {
	return changes < r.c.MaxOps && sizeBytes+changes*len(r.prefix) <= maxRequest
}

// Narrow implements mirror.Remote. One comparison is the slot's.
func (r *remote) Narrow(reads int) bool { return reads < r.c.MaxOps }

// Close implements mirror.Remote.
func (r *remote) Close() error { return r.client.Close() }

// Get implements mirror.Remote.
func (r *remote) Get(ctx context.Context, at mirror.Version, table, key string) (value []byte, err error) {
	err = r.Scan(ctx, at, table, key, func(k string, v []byte) bool {
		if k == key {
			value = v
		}
		return false
	})
	return value, err
}

// Scan implements mirror.Remote. While nobody wrote after that version
// nothing has changed, so what is newest is read: an old revision
// may have been compacted, though it is only hours that nobody wrote.
func (r *remote) Scan(ctx context.Context, at mirror.Version, table, from string, f func(key string, value []byte) bool) error {
	prefix := r.tableKey(table)
	end := clientv3.GetPrefixRangeEnd(prefix)
	for next := from; ; {
		page, cancel := context.WithTimeout(ctx, r.c.Wait)
		got, err := r.client.Txn(page).If(r.nobody(at)).
			Then(clientv3.OpGet(prefix+next, clientv3.WithRange(end), clientv3.WithLimit(pageRows))).Commit()
		cancel()
		if err != nil {
			return r.fail("reading", err)
		}

		if !got.Succeeded {
			err := r.pages(ctx, table, next, clientv3.WithRev(int64(at)), func(key string, kv *mvccpb.KeyValue) bool { return f(key, present(kv.Value)) })
			if errors.Is(err, rpctypes.ErrCompacted) {
				err = fmt.Errorf("%w; try again", err)
			}
			return err
		}

		rows := got.Responses[0].GetResponseRange()
		for _, kv := range rows.Kvs {
			next = strings.TrimPrefix(string(kv.Key), prefix) + "\x00"
			if !f(next[:len(next)-1], present(kv.Value)) {
				return nil
			}
		}

		if !rows.More {
			return nil
		}
	}
}

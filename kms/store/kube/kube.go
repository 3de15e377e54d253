// Package kube keeps a KMS' state in Secrets of a Kubernetes namespace, for
// several key servers at once.
//
// The API server changes one object at a time, and an object has a mebibyte
// at most. So there is a head, the Secret NAME-head, and shards, the Secrets
// NAME-TABLE-BUCKET. A transaction is one update of the head, under its
// resourceVersion: it appends what the transaction writes to a list of
// batches. From there the rows are carried into the shards, by whoever
// writes next; a shard says up to which batch it has them. The state is the
// shards with the batches over them: it is whole at every moment, and a
// server that dies in the middle leaves nothing half done.
package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"sync"
	"time"

	"latchkey/internal/kube"
	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
)

// storeLabel is on all objects of one store; its value is the store's name.
const storeLabel = "latchkey.dev/store"

// A Config says where.
type Config struct {
	Client    *kube.Client
	Namespace string
	Name      string // prefix of all objects' names; empty is kube.DefaultStore
	Create    bool   // begin there if there is nothing

	mirror.Config
}

// Open opens the store. Without Create, one that is not there is
// fs.ErrNotExist. All tables are held in memory, the logs, too.
func Open(ctx context.Context, c Config) (*mirror.DB, error) {
	if c.Name == "" {
		c.Name = kube.DefaultStore
	}
	if c.Wait == 0 {
		c.Wait = 6 * time.Second
	}
	r := &remote{c: c, sizes: map[string]int{}}
	if c.Create {
		if err := r.create(ctx); err != nil {
			return nil, err
		}
	}
	c.Logs = nil
	return mirror.Open(ctx, r, c.Config)
}

// A remote is mirror.Remote.
type remote struct {
	c Config

	mu    sync.Mutex
	head  head           // the last one seen
	sizes map[string]int // bytes of each shard, by name, as they will be
}

// A secretObject is what we read and write of a Secret (core/v1).
type secretObject struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metadata          `json:"metadata"`
	Type       string            `json:"type"`
	Data       map[string][]byte `json:"data"`
}

type metadata struct {
	Name            string            `json:"name"`
	Labels          map[string]string `json:"labels,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
}

// secretType keeps others from taking these for something else.
const secretType = "latchkey.dev/rows"

func (r *remote) object(name, version string, data []byte) secretObject {
	return secretObject{
		APIVersion: "v1", Kind: "Secret", Type: secretType, Data: map[string][]byte{"rows": data},
		Metadata: metadata{Name: name, ResourceVersion: version, Labels: map[string]string{
			storeLabel: r.c.Name, "app.kubernetes.io/managed-by": "latchkey-kms",
		}},
	}
}

func (r *remote) headName() string      { return r.c.Name + "-head" }
func (r *remote) path() string          { return "/api/v1/namespaces/" + r.c.Namespace + "/secrets" }
func (r *remote) at(name string) string { return r.path() + "/" + name }

// fail says what was asked for, on one line.
func (r *remote) fail(doing string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	return fmt.Errorf("%s Secrets in namespace %s at %s: %w", doing, r.c.Namespace, r.c.Client, err)
}

// create writes the first head, unless there is one.
func (r *remote) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.c.Wait)
	defer cancel()
	first := head{}.next(nil, newID())
	err := r.c.Client.Do(ctx, http.MethodPost, r.path(), nil, r.object(r.headName(), "", first.encode()), nil)
	if err != nil && kube.CodeOf(err) != http.StatusConflict {
		return r.fail("writing", err)
	}
	return nil
}

// pageObjects is how many objects are read at once: each has a mebibyte at
// most.
const pageObjects = 50

// Load implements mirror.Remote. The pages of one list are of one moment.
func (r *remote) Load(ctx context.Context, _ []string) (mirror.Version, []mirror.Change, error) {
	var h *head
	var shards []shard
	query := url.Values{"labelSelector": {storeLabel + "=" + r.c.Name}, "limit": {fmt.Sprint(pageObjects)}}
	for more := true; more; {
		page, cancel := context.WithTimeout(ctx, r.c.Wait)
		var list struct {
			Metadata struct{ Continue string }
			Items    []secretObject
		}
		err := r.c.Client.Do(page, http.MethodGet, r.path(), query, nil, &list)
		cancel()
		if err != nil {
			return 0, nil, r.fail("reading", err)
		}

		for _, o := range list.Items {
			if o.Metadata.Name == r.headName() {
				found, err := decodeHead(o)
				if err != nil {
					return 0, nil, err
				}
				h = &found
				continue
			}

			s, err := decodeShard(o)
			if err != nil {
				return 0, nil, err
			}

			shards = append(shards, s)
		}

		query.Set("continue", list.Metadata.Continue)
		more = list.Metadata.Continue != ""
	}

	if h == nil {
		return 0, nil, r.missing(len(shards))
	}
	rows, err := r.assemble(*h, shards)
	return h.version, rows, err
}

func (r *remote) missing(shards int) error {
	if shards > 0 {
		return fmt.Errorf("reading Secrets in namespace %s: %w: there are %d of store %s, and no %s", r.c.Namespace, store.ErrDamaged, shards, r.c.Name, r.headName())
	}
	return fmt.Errorf("reading Secrets in namespace %s: there is no %s: %w", r.c.Namespace, r.headName(), fs.ErrNotExist)
}

// assemble lays the head's batches over the shards.
func (r *remote) assemble(h head, shards []shard) ([]mirror.Change, error) {
	upTo, sizes := map[string]mirror.Version{}, map[string]int{}
	var rows []mirror.Change
	for _, s := range shards {
		if s.upTo > h.version || s.upTo < h.applied && s.behind(h) {
			return nil, fmt.Errorf("reading Secrets in namespace %s: %w: %s is of another version than %s", r.c.Namespace, store.ErrDamaged, s.name, r.headName())
		}
		upTo[s.name], sizes[s.name] = s.upTo, s.size()
		rows = append(rows, s.changes()...)
	}

	r.mu.Lock()
	r.sizes, r.head = sizes, head{}
	r.mu.Unlock()
	for _, b := range h.batches {
		for _, c := range b.changes {
			if b.version > upTo[r.shardOf(c)] {
				rows = append(rows, c)
			}
		}
	}

	r.see(h)
	return rows, nil
}

// Head implements mirror.Remote: a read that names no version goes to the
// quorum.
func (r *remote) Head(ctx context.Context) (mirror.Version, error) {
	h, err := r.readHead(ctx)
	return h.version, err
}

func (r *remote) readHead(ctx context.Context) (head, error) {
	var o secretObject
	if err := r.c.Client.Do(ctx, http.MethodGet, r.at(r.headName()), nil, nil, &o); err != nil {
		if kube.CodeOf(err) == http.StatusNotFound {
			return head{}, r.missing(0)
		}
		return head{}, r.fail("reading", err)
	}
	h, err := decodeHead(o)
	if err == nil {
		r.see(h)
	}
	return h, err
}

// see remembers the newest head, and what its batches will make of shards.
func (r *remote) see(h head) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.version <= r.head.version {
		return
	}
	for _, b := range h.batches {
		if b.version > r.head.version {
			for _, c := range b.changes {
				r.sizes[r.shardOf(c)] += rowSize(c) // at most: it may replace a row
			}
		}
	}
	r.head = h
}

func (r *remote) last() head {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}

// Follow implements mirror.Remote. Only the head is watched: it carries all
// that is written.
func (r *remote) Follow(ctx context.Context, after mirror.Version, report func(mirror.Version, []mirror.Change)) error {
	take := func(h head) error {
		for _, b := range h.batches {
			if b.version <= after {
				continue
			}
			if b.version != after+1 {
				return mirror.ErrLost
			}
			after = b.version
			report(b.version, b.changes)
		}
		if h.version > after {
			return mirror.ErrLost
		}
		return nil
	}

	first, cancel := context.WithTimeout(ctx, r.c.Wait)
	h, err := r.readHead(first)
	cancel()
	if err == nil {
		err = take(h)
	}
	if err != nil {
		return err
	}

	query := url.Values{"fieldSelector": {"metadata.name=" + r.headName()}, "resourceVersion": {h.resource}}
	return r.c.Client.Watch(ctx, r.path(), query, func(kind string, object json.RawMessage) error {
		var o secretObject
		if err := json.Unmarshal(object, &o); err != nil || kind == "DELETED" {
			return fmt.Errorf("following %s: it was deleted or is no Secret", r.headName())
		}
		h, err := decodeHead(o)
		if err != nil {
			return err
		}
		r.see(h)
		return take(h)
	})
}

// Fits implements mirror.Remote: one batch is half of what the head holds.
func (r *remote) Fits(_, sizeBytes int) bool { return sizeBytes <= maxBatches/2 }

// Narrow implements mirror.Remote: nothing is compared but the head.
func (r *remote) Narrow(int) bool { return true }

// Get implements mirror.Remote; all tables are held.
func (r *remote) Get(context.Context, mirror.Version, string, string) ([]byte, error) {
	return nil, errHeld
}

// Scan implements mirror.Remote.
func (r *remote) Scan(context.Context, mirror.Version, string, string, func(string, []byte) bool) error {
	return errHeld
}

var errHeld = errors.New("reading a table that the store does not have")

// Close implements mirror.Remote.
func (r *remote) Close() error {
	r.c.Client.Close()
	return nil
}

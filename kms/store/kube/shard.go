package kube

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"latchkey/internal/kube"
	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
)

// maxShard bounds a shard, in bytes: a Secret's data has a mebibyte, and what
// others have just written is not counted yet.
const maxShard = 900_000

// A shard is some rows of one table.
type shard struct {
	name, resource string
	table          string
	upTo           mirror.Version // batches up to here are in it, as far as they are its
	rows           map[string][]byte
}

// shardOf names the shard of a row. Numbered rows, as those of the audit
// log (a number, and the server), stand together by 256, so that adding one does not touch old ones;
// others by a hash of the key.
func (r *remote) shardOf(c mirror.Change) string {
	bucket := ""
	if len(c.Key) == 8 || len(c.Key) == 12 {
		bucket = hex.EncodeToString([]byte(c.Key[:7]))
	} else {
		sum := sha256.Sum256([]byte(c.Key))
		bucket = hex.EncodeToString(sum[:1])
	}
	return r.c.Name + "-" + c.Table + "-" + bucket
}

func (s shard) size() (n int) {
	for key, value := range s.rows {
		n += len(key) + len(value) + 12
	}
	return n
}

// behind tells whether the head has batches for the shard that are said to
// be in it already: then it was put back to an older state. Nothing tells
// for those that the head no longer has; the server's own digest does.
func (s shard) behind(h head) bool {
	return slices.ContainsFunc(h.batches, func(b batch) bool { return b.version > s.upTo && b.version <= h.applied })
}

func (s shard) changes() (all []mirror.Change) {
	for key, value := range s.rows {
		all = append(all, mirror.Change{Table: s.table, Key: key, Value: value})
	}
	return all
}

// encode: form, version, table, rows in order.
func (s shard) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{formShard}, uint64(s.upTo))
	b = appendField(b, []byte(s.table))
	for _, key := range slices.Sorted(maps.Keys(s.rows)) {
		b = appendRow(b, mirror.Change{Key: key, Value: s.rows[key]})
	}
	return b
}

func decodeShard(o secretObject) (shard, error) {
	d := &decoder{rest: o.Data["rows"]}
	if d.byte() != formShard {
		d.bad = true
	}
	s := shard{name: o.Metadata.Name, resource: o.Metadata.ResourceVersion, upTo: mirror.Version(d.uint64()), table: string(d.field()), rows: map[string][]byte{}}
	for len(d.rest) > 0 && !d.bad {
		c := d.row()
		s.rows[c.Key] = c.Value
	}
	return s, d.end(o)
}

// apply carries a head's batches into the shards. Several servers may do it
// at once: a shard that has them is left alone.
func (r *remote) apply(ctx context.Context, h head) error {
	tables := map[string]string{}
	for _, b := range h.batches {
		for _, c := range b.changes {
			tables[r.shardOf(c)] = c.Table
		}
	}
	for name, table := range tables {
		if err := r.applyTo(ctx, h, name, table); err != nil {
			return r.fail("writing", err)
		}
	}
	return nil
}

// applyTo changes one shard, under its resourceVersion.
func (r *remote) applyTo(ctx context.Context, h head, name, table string) error {
	for {
		s, err := r.readShard(ctx, name, table)
		if err != nil || s.upTo >= h.version {
			return err
		}

		for _, b := range h.batches {
			for _, c := range b.changes {
				if b.version <= s.upTo || r.shardOf(c) != name {
					continue
				}
				if c.Value == nil {
					delete(s.rows, c.Key)
				} else {
					s.rows[c.Key] = c.Value
				}
			}
		}

		s.upTo = h.version
		if err = r.writeShard(ctx, s); err == nil {
			r.sized(s)
		}
		if kube.CodeOf(err) != http.StatusConflict {
			return err
		}
	}
}

func (r *remote) readShard(ctx context.Context, name, table string) (shard, error) {
	var o secretObject
	err := r.c.Client.Do(ctx, http.MethodGet, r.at(name), nil, nil, &o)
	if kube.CodeOf(err) == http.StatusNotFound {
		return shard{name: name, table: table, rows: map[string][]byte{}}, nil
	}
	if err != nil {
		return shard{}, err
	}
	return decodeShard(o)
}

func (r *remote) writeShard(ctx context.Context, s shard) error {
	o := r.object(s.name, s.resource, s.encode())
	if s.resource == "" {
		return r.c.Client.Do(ctx, http.MethodPost, r.path(), nil, o, nil)
	}
	return r.c.Client.Do(ctx, http.MethodPut, r.at(s.name), nil, o, nil)
}

// sized remembers how large a shard is.
func (r *remote) sized(s shard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes[s.name] = s.size()
}

// room checks, before anything is promised, that the rows will find place in
// their shards.
func (r *remote) room(changes []mirror.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	more := map[string]int{}
	for _, c := range changes {
		name := r.shardOf(c)
		if more[name] += rowSize(c); c.Value != nil && r.sizes[name]+more[name]+len(c.Table)+16 > maxShard {
			return fmt.Errorf("%w: the Secret %s is full", store.ErrTooLarge, strings.TrimSpace(name))
		}
	}
	return nil
}

package kube

import (
	"bytes"
	"errors"
	"testing"

	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
)

// FuzzDecode: what is in a Secret is read as it was written, or is damaged;
// it never ends the server.
func FuzzDecode(f *testing.F) {
	row := []mirror.Change{{Table: "nodes", Key: "k", Value: []byte("value")}, {Table: "nodes", Key: "gone"}, {Table: "b", Key: "", Value: []byte{}}}
	f.Add(head{}.next(row, id{1}).next(nil, id{2}).encode())
	f.Add(shard{table: "nodes", upTo: 7, rows: map[string][]byte{"k": []byte("value"), "": {}}}.encode())
	f.Add([]byte{formHead, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	f.Add([]byte{formShard, 0, 0, 0, 0, 0, 0, 0, 9, 255, 255, 255, 254})

	f.Fuzz(func(t *testing.T, b []byte) {
		o := secretObject{Data: map[string][]byte{"rows": b}}
		h, err := decodeHead(o)
		if err == nil && !bytes.Equal(h.encode(), b) {
			t.Errorf("a head of %x is written as %x", b, h.encode())
		}
		if err != nil && !errors.Is(err, store.ErrDamaged) {
			t.Errorf("decodeHead = %v, want %v", err, store.ErrDamaged)
		}
		if s, err := decodeShard(o); err == nil && len(s.rows) > len(b) {
			t.Errorf("%d rows of %d bytes", len(s.rows), len(b))
		} else if err != nil && !errors.Is(err, store.ErrDamaged) {
			t.Errorf("decodeShard = %v, want %v", err, store.ErrDamaged)
		}
	})
}

package etcd

import (
	"bytes"
	"errors"
	"testing"

	"latchkey/kms/store"
)

// FuzzHead: a head is read as it was written, or is damaged.
func FuzzHead(f *testing.F) {
	f.Add(head{}.next(newID()).next(newID()).encode())
	f.Add([]byte{headVersion})
	f.Add(bytes.Repeat([]byte{headVersion}, 1+maxIDs*8+8))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHead(b)
		if err == nil && !bytes.Equal(h.encode(), b) {
			t.Errorf("a head of %x is written as %x", b, h.encode())
		}
		if err != nil && !errors.Is(err, store.ErrDamaged) {
			t.Errorf("decodeHead = %v, want %v", err, store.ErrDamaged)
		}
	})
}

package unlock_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
)

var ctx = context.Background()

// disk is a volume in memory that counts how often it is read.
type disk struct {
	bytes []byte
	reads int
	fails error
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.reads++
	if d.fails != nil {
		return 0, d.fails
	}
	return bytes.NewReader(d.bytes).ReadAt(p, off)
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(d.bytes)) {
		return 0, io.ErrShortWrite
	}
	return copy(d.bytes[off:], p), nil
}

func (*disk) Sync() error { return nil }

const uuid = "5a0f5bd1-0f3f-4a77-9d3a-9c3b3a3e1c11"

// key is a machine's key: as long as 256 random bits.
func key(first byte) secret.Bytes {
	b := make([]byte, 32)
	b[0] = first
	return secret.Own(b)
}

// format makes a volume that key(1) opens.
func format(t *testing.T, more ...luks2.NewKey) (*unlock.Volume, *disk) {
	t.Helper()
	d := &disk{bytes: make([]byte, 4<<20)}
	h, volume, err := luks2.Format(d, luks2.NewVolume{UUID: uuid, SizeBytes: 4 << 20, OffsetBytes: 2 << 20}, luks2.NewKey{Passphrase: key(1), Random: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range more {
		if h, _, err = h.AddKey(d, volume, k); err != nil {
			t.Fatal(err)
		}
	}
	d.reads = 0
	return &unlock.Volume{Name: "root", Device: "/dev/vda2", Header: h}, d
}

func candidates(keys ...secret.Bytes) (all []unlock.Candidate) {
	for i, k := range keys {
		all = append(all, unlock.Candidate{Passphrase: k, Staged: i > 0})
	}
	return all
}

// A recorder is a Mapper that keeps what it was given.
type recorder struct {
	targets []dm.Target
	keys    []luks2.VolumeKey
	was     []byte // the last key's bytes, as the kernel would have them
	fails   error
}

func (r *recorder) mapper(t dm.Target, k luks2.VolumeKey) error {
	r.targets, r.keys = append(r.targets, t), append(r.keys, k)
	r.was = bytes.Clone(k.Bytes().Reveal())
	return r.fails
}

// wiped fails unless every key that was handed out is zeros by now.
func (r *recorder) wiped(t *testing.T) {
	t.Helper()
	for _, k := range r.keys {
		if !bytes.Equal(k.Bytes().Reveal(), make([]byte, k.Bytes().Len())) {
			t.Error("the volume key is still in memory")
		}
	}
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*unlock.Error](err); ok {
		return e.Code()
	}
	return ""
}

func TestOpen(t *testing.T) {
	v, d := format(t)
	v.Options = dm.Options{AllowDiscards: true}
	var kernel recorder
	o, err := v.Open(ctx, d, candidates(key(1)), unlock.Expect{}, nil, kernel.mapper)
	if err != nil || o.Slot != 0 || o.Staged {
		t.Fatalf("Open = %+v, %v", o, err)
	}

	want := dm.Target{Name: "root", Device: "/dev/vda2", Segment: v.Header.Segment(), Options: v.Options}
	if len(kernel.targets) != 1 || kernel.targets[0] != want {
		t.Errorf("the kernel was given %+v, want %+v once", kernel.targets, want)
	}
	kernel.wiped(t)
	again, err := v.Open(ctx, d, candidates(key(1)), unlock.Expect{MAC: o.MAC[:]}, nil, kernel.mapper)
	if err != nil || again != o {
		t.Errorf("Open with its own MAC = %+v, %v, want %+v", again, err, o)
	}
}

// What does not open is not mapped, has its code, and leaves no key.
func TestOpenFails(t *testing.T) {
	wide := luks2.NewKey{Passphrase: key(9), Slot: luks2.AnySlot, MemoryKiB: 64 << 10}
	broken := errors.New("the kernel says no")
	for _, row := range []struct {
		name  string
		known unlock.Expect
		plan  []byte // digest
		keys  []secret.Bytes
		free  int64
		disk  error
		map_  error
		code  string
	}{
		{name: "digest of the KMS", known: unlock.Expect{Digest: make([]byte, 32)}, keys: []secret.Bytes{key(1)}, code: unlock.CodeLocked},
		{name: "digest of the plan", plan: make([]byte, 32), keys: []secret.Bytes{key(1)}, code: unlock.CodeLocked},
		{name: "digest cut short", known: unlock.Expect{Digest: make([]byte, 31)}, keys: []secret.Bytes{key(1)}, code: unlock.CodeLocked},
		{name: "volume-key MAC", known: unlock.Expect{MAC: make([]byte, 32)}, keys: []secret.Bytes{key(1)}, code: unlock.CodeLocked},
		{name: "wrong key", keys: []secret.Bytes{key(3)}, code: unlock.CodeWrongKey},
		{name: "wrong keys, active and staged", keys: []secret.Bytes{key(3), key(4)}, code: unlock.CodeWrongKey},
		{name: "no key", code: unlock.CodeWrongKey},
		{name: "no memory for the only slot that fits", keys: []secret.Bytes{key(9)}, free: 64 << 20, code: unlock.CodeWrongKey},
		{name: "unreadable disk", keys: []secret.Bytes{key(1)}, disk: errors.New("bad sector"), code: unlock.CodeRead},
		{name: "mapper", keys: []secret.Bytes{key(1)}, map_: broken, code: unlock.CodeMap},
	} {
		t.Run(row.name, func(t *testing.T) {
			v, d := format(t, wide)
			v.Digest, d.fails = row.plan, row.disk
			kernel := recorder{fails: row.map_}
			o, err := v.Open(ctx, d, candidates(row.keys...), row.known, luks2.NewMemory(row.free), kernel.mapper)
			if codeOf(err) != row.code || o != (unlock.Opened{}) {
				t.Errorf("Open = %+v, %v, want code %s and nothing", o, err, row.code)
			}
			if mapped := len(kernel.targets) > 0; mapped != (row.map_ != nil) {
				t.Errorf("the kernel was given %d tables", len(kernel.targets))
			}
			kernel.wiped(t)
		})
	}
}

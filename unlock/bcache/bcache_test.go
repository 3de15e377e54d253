package bcache_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/unlock/bcache"
	"latchkey/unlock/bcache/bcachetest"
)

const set = "01234567-89ab-cdef-0123-456789abcdef"

func read(b []byte) (*bcache.Device, error) {
	return bcache.Read(bytes.NewReader(b), "/dev/vda", int64(len(b)))
}

// TestRead: what superblocks say. A backing device that belongs to no set any
// more runs without one.
func TestRead(t *testing.T) {
	const uuid = "07000000-0000-0000-0000-000000000000"
	for _, tt := range []struct {
		name string
		d    bcachetest.Device
		want bcache.Device
	}{
		{"a cache", bcachetest.Device{Version: 3, UUID: 7}, bcache.Device{Cache: true}},
		{"without a cache yet", bcachetest.Device{Version: 1, UUID: 7}, bcache.Device{DataBytes: 8192}},
		{"clean", bcachetest.Device{Version: 1, UUID: 7, State: bcachetest.Clean}, bcache.Device{Attached: true, DataBytes: 8192}},
		{"dirty", bcachetest.Device{Version: 4, UUID: 7, State: bcachetest.Dirty, Mode: 1}, bcache.Device{Attached: true, Dirty: true, DataBytes: 8192}},
		{"the cache was given up", bcachetest.Device{Version: 1, UUID: 7, State: bcachetest.Stale}, bcache.Device{DataBytes: 8192}},
	} {
		tt.want.Path, tt.want.UUID, tt.want.Set = "/dev/vda", uuid, set
		got, err := read(tt.d.Device())
		if diff := cmp.Diff(&tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: Read: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

// TestRefused: what the kernel does not take is one line here.
func TestRefused(t *testing.T) {
	good := bcachetest.Device{Version: 4, State: bcachetest.Clean}.Device()
	for _, tt := range []struct {
		name, want string
		change     func(b []byte) []byte
		kind       error
	}{
		{"nothing", "no device of bcache", func([]byte) []byte { return nil }, bcache.ErrNone},
		{"zeros", "no device of bcache", func(b []byte) []byte { return make([]byte, len(b)) }, bcache.ErrNone},
		{"cut off", "it ends before its end", func(b []byte) []byte { return b[:4096+1000] }, bcache.ErrDamaged},
		{"a bit", "the checksum is wrong", func(b []byte) []byte { b[4096+110]++; return b }, bcache.ErrDamaged},
		{"elsewhere", "it is not where it says", func(b []byte) []byte { b[4096+8]++; bcachetest.Seal(b); return b }, bcache.ErrDamaged},
		{"many keys", "65535 journal buckets, at most 256", func(b []byte) []byte { b[4096+206], b[4096+207] = 0xff, 0xff; return b }, bcache.ErrDamaged},
		{"version", "version 7 is not known", func(b []byte) []byte { b[4096+16] = 7; bcachetest.Seal(b); return b }, bcache.ErrDamaged},
		{"data in the superblock", "its data begin at sector 8", func(b []byte) []byte { b[4096+184] = 8; bcachetest.Seal(b); return b }, bcache.ErrDamaged},
		{"data outside", "its data begin at sector 18446744073709551615", func(b []byte) []byte {
			copy(b[4096+184:], bytes.Repeat([]byte{0xff}, 8))
			bcachetest.Seal(b)
			return b
		}, bcache.ErrDamaged},
	} {
		got, err := read(tt.change(bytes.Clone(good)))
		if got != nil || !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: Read = %v, %v, want an error with %q", tt.name, got, err, tt.want)
		}
	}
}

// TestCaches: a backing device needs the caches of its set, if it has one.
func TestCaches(t *testing.T) {
	mine, other, backing := &bcache.Device{Cache: true, Set: "a"}, &bcache.Device{Cache: true, Set: "b"}, &bcache.Device{Set: "a"}
	all := []*bcache.Device{other, backing, mine}
	for _, attached := range []bool{false, true} {
		d := &bcache.Device{Set: "a", Attached: attached}
		if got := d.Caches(all); len(got) > 1 || (len(got) == 1 && got[0] == mine) != attached {
			t.Errorf("attached %t: Caches = %v", attached, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	for version := range uint64(7) {
		f.Add(bcachetest.Device{Version: version, State: version & 3}.Device()[4096:8192], int64(1<<20))
	}
	f.Fuzz(func(t *testing.T, sb []byte, size int64) {
		b := make([]byte, 4096+len(sb))
		copy(b[4096:], sb)
		d, err := bcache.Read(bytes.NewReader(b), "/dev/vda", size)
		switch {
		case (d == nil) != (err != nil):
			t.Fatalf("Read = %v, %v", d, err)
		case d != nil && !d.Cache && (d.DataBytes < 8192 || d.DataBytes > 8192 && d.DataBytes >= size):
			t.Fatalf("data begin at %d of %d", d.DataBytes, size)
		}
		if err == nil && len(b) > 8192 {
			bcachetest.Seal(b)
		}
	})
}

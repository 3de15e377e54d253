package worker

import (
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// TestOpenDeadline: what a keyslot costs is the volume's, and a boot that
// tries it must not give up before; tries wait for each other's memory, so
// they have the time of all.
func TestOpenDeadline(t *testing.T) {
	header := func(memoryKiB int) *luks2.Header {
		h, key, err := luks2.Format(make(luks2test.Disk, 4<<20), luks2.NewVolume{UUID: testUUID, SizeBytes: 4 << 20, OffsetBytes: 2 << 20},
			luks2.NewKey{Passphrase: secret.Random(32), MemoryKiB: memoryKiB})
		if err != nil {
			t.Fatal(err)
		}
		key.Wipe()
		return h
	}
	of := func(h *luks2.Header) try {
		return try{of: &opening{disk: &disk{Volume: unlock.Volume{Header: h}}}}
	}
	slow := header(32 << 10) // four passes: 128 Ki units of a microsecond
	for _, row := range []struct {
		name  string
		tries []try
		want  time.Duration
	}{
		{"none", nil, 3 * time.Minute},
		{"one", []try{of(slow)}, 3*time.Minute + 8*131072*time.Microsecond},
		{"two that share the memory", []try{of(slow), of(slow)}, 3*time.Minute + 16*131072*time.Microsecond},
	} {
		if got := openDeadline(row.tries); got != row.want {
			t.Errorf("%s: openDeadline = %s, want %s", row.name, got, row.want)
		}
	}
}

package luks2_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// Argon2 may use all that is free but what the rest needs, and half of it
// on a small machine (faults/peers.md I14).
func TestMemoryCheck(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name            string
		need, freeBytes int64
		want            string
	}{
		{"500 MiB on a machine of 1 GB", 500 * mib, 800 * mib, ""},
		{"just enough", 500 * mib, 564 * mib, ""},
		{"a byte too little", 500 * mib, 564*mib - 1, "kdf-memory"},
		{"half of a small machine", 40 * mib, 80 * mib, ""},
		{"more than half of a small machine", 40 * mib, 80*mib - 1, "kdf-memory"},
		{"the most that a keyslot may want, and nothing is told", 4 << 30, 0, ""},
		{"pbkdf2", 0, 1, ""},
	} {
		err := luks2.NewMemory(tt.freeBytes).Check(luks2.Keyslot{KDF: luks2.KDF{MemoryKiB: int(tt.need >> 10)}})
		if code(err) != tt.want {
			t.Errorf("%s: Check = %v, want code %q", tt.name, err, tt.want)
		}
	}
}

// gated is a disk whose reads wait for a token of the gate.
type gated struct {
	disk
	arrived *int
	gate    chan struct{}
}

func (g gated) ReadAt(p []byte, off int64) (int, error) {
	*g.arrived++
	<-g.gate
	return g.disk.ReadAt(p, off)
}

// small is a volume with one keyslot that needs 64 KiB.
func small(t *testing.T) (*luks2.Header, disk) {
	t.Helper()
	d := make(disk, 2<<20)
	h, _, err := luks2.Format(d, luks2.NewVolume{SizeBytes: int64(len(d)), OffsetBytes: 1 << 20}, typed("typed"))
	if err != nil {
		t.Fatal(err)
	}
	return h, d
}

// Any number of volumes opens side by side where the largest keyslot alone
// does: one KDF waits for the other's memory (faults/peers.md I13).
func TestMemoryIsShared(t *testing.T) {
	h, d := small(t)
	synctest.Test(t, func(t *testing.T) {
		memory := luks2.NewMemory(2 * 100 << 10) // 100 KiB: for one, not for two
		arrived, gate, failed := 0, make(chan struct{}), make(chan error, 4)
		for range 4 {
			go func() {
				_, _, err := h.Unlock(t.Context(), gated{d, &arrived, gate}, luks2.Attempt{Passphrase: typed("typed").Passphrase, Memory: memory})
				failed <- err
			}()
		}
		for n := range 4 {
			synctest.Wait()
			if arrived != n+1 {
				t.Fatalf("%d keyslots are being tried with room for one, %d are done", arrived-n, n)
			}
			gate <- struct{}{}
			if err := <-failed; err != nil {
				t.Fatalf("Unlock = %v", err)
			}
		}
	})
}

// A keyslot that waits for memory stops waiting when there is no time left
// for it.
func TestMemoryWaitEnds(t *testing.T) {
	h, d := small(t)
	synctest.Test(t, func(t *testing.T) {
		memory := luks2.NewMemory(2 * 100 << 10)
		arrived, gate, failed := 0, make(chan struct{}), make(chan error, 2)
		try := func(ctx context.Context) {
			_, _, err := h.Unlock(ctx, gated{d, &arrived, gate}, luks2.Attempt{Passphrase: secret.Own([]byte("typed")), Memory: memory})
			failed <- err
		}
		go try(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go try(ctx)
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) || arrived != 1 {
			t.Errorf("Unlock = %v after %d reads, want %v after 1", err, arrived, context.Canceled)
		}
		gate <- struct{}{}
		if err := <-failed; err != nil {
			t.Errorf("the other Unlock = %v", err)
		}
	})
}

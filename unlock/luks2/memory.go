package luks2

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// reserveBytes is kept from argon2, for the kernel and the rest of the
// program.
const reserveBytes = 64 << 20

// Memory is what argon2 may use. All attempts that run side by side share
// one: each waits until what it needs is free, so that any number of volumes
// opens where the largest keyslot alone does.
type Memory struct {
	totalBytes int64
	free       *semaphore.Weighted
}

// NewMemory is for a machine with so much free memory, as MemAvailable of
// /proc/meminfo tells it. Argon2 gets all but 64 MiB of it, or half on a
// machine with less than 128 MiB. 0 means unknown: then 4 GiB, which is the
// most that a keyslot may want.
func NewMemory(freeBytes int64) *Memory {
	total := max(freeBytes-reserveBytes, freeBytes/2)
	if freeBytes == 0 {
		total = maxMemoryKiB << 10
	}
	return &Memory{total, semaphore.NewWeighted(total)}
}

// Check returns a *Rejected with the code kdf-memory when the KDF of a
// keyslot needs more than there is.
func (m *Memory) Check(k Keyslot) error {
	if need := k.KDF.MemoryBytes(); need > m.totalBytes {
		return reject("kdf-memory", "keyslot %d needs %d MiB of memory, this machine can give %d MiB", k.ID, need>>20, m.totalBytes>>20)
	}
	return nil
}

// reserve waits until the KDF of a keyslot has the memory that it needs.
func (m *Memory) reserve(ctx context.Context, k Keyslot) (release func(), err error) {
	need := k.KDF.MemoryBytes()
	if m == nil || need == 0 {
		return func() {}, nil
	}
	if err := m.Check(k); err != nil {
		return nil, err
	}
	if err := m.free.Acquire(ctx, need); err != nil {
		return nil, err
	}
	return func() { m.free.Release(need) }, nil
}

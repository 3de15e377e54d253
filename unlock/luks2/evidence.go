package luks2

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// Evidence is SHA-256 over all bytes that decide which passphrase opens a
// keyslot, as they are on the disk now: the volume's SubsetDigest, with the
// digest that verifies the key; the keyslot's KDF with its salt, its cipher and
// its anti-forensic split; and its area. While it is the same, what opened the
// keyslot opens it. It tells nobody what that is. It is not over the keyslot's
// number, its place and its priority, which decide nothing.
func (h *Header) Evidence(r io.ReaderAt, slot int) (sum [32]byte, err error) {
	i := h.meta.slot(slot)
	if i < 0 || h.meta.slots[i].skip != nil {
		return sum, fmt.Errorf("reading keyslot %d of volume %s: %w", slot, h.uuid, ErrNoSlot)
	}
	k := h.meta.slots[i].Keyslot
	area := make([]byte, k.cryptBytes())
	if _, err := r.ReadAt(area, k.areaOffset); err != nil {
		return sum, fmt.Errorf("reading keyslot %d of volume %s: %w", slot, h.uuid, &IOError{err})
	}
	subset := h.SubsetDigest()
	all := sha256.New()
	fmt.Fprintf(all, "latchkey keyslot evidence 1 %x %q %q %d %d %d %d %d %x %q %d %q %d ", subset,
		k.KDF.Type, k.KDF.Hash, k.KDF.Iterations, k.KDF.Time, k.KDF.MemoryKiB, k.KDF.CPUs, k.KeyBytes, k.KDF.salt, k.AFHash, stripes, k.areaCipher, k.areaKeyBytes)
	all.Write(area)
	return [32]byte(all.Sum(nil)), nil
}

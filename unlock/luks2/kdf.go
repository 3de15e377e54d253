package luks2

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"runtime/debug"
	"time"

	"golang.org/x/crypto/argon2"
	//lint:ignore SA1019 what people chose years ago must open
	"golang.org/x/crypto/ripemd160"

	"latchkey/internal/secret"
)

// derive makes the key of a keyslot area, of size bytes, from a passphrase.
func (k KDF) derive(passphrase secret.Bytes, size int) secret.Bytes {
	switch k.Type {
	case "argon2i":
		defer debug.FreeOSMemory()
		return secret.Own(argon2.Key(passphrase.Reveal(), k.salt, uint32(k.Time), uint32(k.MemoryKiB), uint8(k.CPUs), uint32(size)))
	case "argon2id":
		// Up to 4 GiB that x/crypto does not wipe: it is given back to
		// the kernel, which never shows it to another process, and which
		// needs it for the rest of the boot.
		defer debug.FreeOSMemory()
		return secret.Own(argon2.IDKey(passphrase.Reveal(), k.salt, uint32(k.Time), uint32(k.MemoryKiB), uint8(k.CPUs), uint32(size)))
	}
	return pbkdf2(newHash(k.Hash), passphrase, k.salt, k.Iterations, size)
}

func newHash(name string) func() hash.Hash {
	switch name {
	case "sha512":
		return sha512.New
	case "sha1":
		return sha1.New
	case "ripemd160":
		return ripemd160.New
	}
	return sha256.New
}

// MemoryBytes is what the KDF allocates while it runs.
func (k KDF) MemoryBytes() int64 { return int64(k.MemoryKiB) << 10 }

// Fingerprint tells a keyslot from another one that had the same number
// before: SHA-256 of its KDF's salt, which is new with every keyslot.
func (k Keyslot) Fingerprint() [32]byte { return sha256.Sum256(k.KDF.salt) }

// work is a measure of the time that the KDF takes: a pbkdf2 iteration and
// a KiB that argon2 writes both take about a microsecond.
func (k KDF) work() int64 { return int64(k.Iterations) + int64(k.Time)*int64(k.MemoryKiB) }

// Cost is about how long trying one passphrase on every keyslot takes on a
// machine of today.
func (h *Header) Cost() time.Duration {
	var work int64
	for _, k := range h.Keyslots() {
		work += k.KDF.work()
	}
	return time.Duration(work) * time.Microsecond
}

// pbkdf2 is RFC 8018, section 5.2. The standard library's takes the
// password as a string and copies it; this one leaves no copy in clear.
func pbkdf2(newHash func() hash.Hash, password secret.Bytes, salt []byte, iterations, size int) secret.Bytes {
	mac := hmac.New(newHash, password.Reveal())
	out := secret.Make(size)
	u := make([]byte, 0, mac.Size())
	t := make([]byte, mac.Size())
	for block := 1; (block-1)*len(t) < size; block++ {
		mac.Reset()
		mac.Write(salt)
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(block)))
		u = mac.Sum(u[:0])
		copy(t, u)
		for range iterations - 1 {
			mac.Reset()
			mac.Write(u)
			u = mac.Sum(u[:0])
			subtle.XORBytes(t, t, u)
		}

		copy(out.Reveal()[(block-1)*len(t):], t)
	}

	clear(u[:cap(u)])
	clear(t)
	return out
}

package luks2

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
)

// The anti-forensic splitter: LUKS1 On-Disk Format Specification 1.2.3,
// section 2.4. A key is spread over 4,000 stripes so that losing any one
// of them loses the key.

// afMerge recovers the key from its stripes into key.
func afMerge(key, split []byte, hash string) {
	clear(key)
	last := len(split) - len(key)
	for at := 0; at < last; at += len(key) {
		subtle.XORBytes(key, key, split[at:at+len(key)])
		diffuse(key, hash)
	}
	subtle.XORBytes(key, key, split[last:])
}

// afSplit fills split with the stripes of key.
func afSplit(split, key []byte, hash string) {
	last := len(split) - len(key)
	rand.Read(split[:last])
	acc := split[last:] // the last stripe is what the others lack
	clear(acc)
	for at := 0; at < last; at += len(key) {
		subtle.XORBytes(acc, acc, split[at:at+len(key)])
		diffuse(acc, hash)
	}
	subtle.XORBytes(acc, acc, key)
}

// diffuse hashes each part of b, of the hash's size, with its number in
// front.
func diffuse(b []byte, hash string) {
	h := newHash(hash)()
	sum := make([]byte, 0, h.Size())
	var number [4]byte
	for i := 0; i*h.Size() < len(b); i++ {
		part := b[i*h.Size() : min((i+1)*h.Size(), len(b))]
		binary.BigEndian.PutUint32(number[:], uint32(i))
		h.Reset()
		h.Write(number[:])
		h.Write(part)
		sum = h.Sum(sum[:0])
		copy(part, sum)
	}
	clear(sum[:cap(sum)])
}

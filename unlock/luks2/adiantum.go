package luks2

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/bits"

	//lint:ignore SA1019 a part of Adiantum's hash, not a MAC of ours
	"golang.org/x/crypto/poly1305"
)

// adiantum is a wide-block cipher for machines without AES instructions:
// Crowley and Biggers, "Adiantum: length-preserving encryption for
// entry-level processors" (2018), as crypto/adiantum.c has it. It changes a
// sector as a whole.
type adiantum struct {
	rounds     int // of ChaCha: 12 or 20
	key        [32]byte
	block      cipher.Block // AES-256
	headerHash [32]byte     // Poly1305 keys: r, and an s of zeros
	sumsHash   [32]byte
	nh         [nhWords]uint32
}

// NH: crypto/nhpoly1305.c. A message is hashed in pieces of 1024 bytes, each
// to four numbers of 64 bits.
const (
	nhPieceBytes = 1024
	nhPasses     = 4
	nhWords      = nhPieceBytes/4 + 4*(nhPasses-1)
	tweakBytes   = 32
)

func newAdiantum(key []byte, rounds int) sectorCipher {
	a := &adiantum{rounds: rounds, key: [32]byte(key)}
	stream := make([]byte, 32+16+16+4*nhWords)
	defer clear(stream)
	nonce := [24]byte{1}
	a.stream(stream, nonce)
	a.block = newAES(stream[:32])
	copy(a.headerHash[:16], stream[32:48])
	copy(a.sumsHash[:16], stream[48:64])
	for i := range a.nh {
		a.nh[i] = binary.LittleEndian.Uint32(stream[64+4*i:])
	}
	return a
}

func (a *adiantum) encrypt(b []byte, sectorBytes int, iv uint64) {
	for ; len(b) >= sectorBytes; b = b[sectorBytes:] {
		a.crypt(b[:sectorBytes], plain64(iv), true)
		iv += uint64(sectorBytes / ivSector)
	}
}

func (a *adiantum) decrypt(b []byte, sectorBytes int, iv uint64) {
	for ; len(b) >= sectorBytes; b = b[sectorBytes:] {
		a.crypt(b[:sectorBytes], plain64(iv), false)
		iv += uint64(sectorBytes / ivSector)
	}
}

// plain64 is the number of a sector, filled up with zeros.
func plain64(iv uint64) (tweak [tweakBytes]byte) {
	binary.LittleEndian.PutUint64(tweak[:], iv)
	return tweak
}

// crypt works on one sector. The encrypted last block, in which the hash of
// the rest is, makes the nonce of the stream over the rest.
func (a *adiantum) crypt(b []byte, tweak [tweakBytes]byte, encrypt bool) {
	bulk, last := b[:len(b)-aes.BlockSize], b[len(b)-aes.BlockSize:]
	add128(last, a.hash(bulk, tweak))
	if encrypt {
		a.block.Encrypt(last, last)
	}
	nonce := [24]byte{16: 1}
	copy(nonce[:], last)
	if !encrypt {
		a.block.Decrypt(last, last)
	}
	a.stream(bulk, nonce)
	sub128(last, a.hash(bulk, tweak))
}

// hash is NHPoly1305 of the bulk plus Poly1305 of its length and the tweak.
func (a *adiantum) hash(bulk []byte, tweak [tweakBytes]byte) (sum [16]byte) {
	var header [16 + tweakBytes]byte
	binary.LittleEndian.PutUint64(header[:], uint64(len(bulk))*8)
	copy(header[16:], tweak[:])
	poly1305.Sum(&sum, header[:], &a.headerHash)

	var of [16]byte
	sums := make([]byte, 0, (len(bulk)/nhPieceBytes+1)*8*nhPasses)
	for ; len(bulk) > 0; bulk = bulk[min(nhPieceBytes, len(bulk)):] {
		sums = a.piece(sums, bulk[:min(nhPieceBytes, len(bulk))])
	}
	poly1305.Sum(&of, sums, &a.sumsHash)
	add128(sum[:], of)
	return sum
}

// piece appends NH of one piece. Its end is filled up with zeros to a whole
// unit of 16 bytes.
func (a *adiantum) piece(sums, b []byte) []byte {
	var sum [nhPasses]uint64
	key := a.nh[:]
	for ; len(b) > 0; b, key = b[min(16, len(b)):], key[4:] {
		var unit [16]byte
		copy(unit[:], b)
		m := serpentLoad(unit[:])
		for p := range sum {
			k := key[4*p : 4*p+4]
			sum[p] += uint64(m[0]+k[0])*uint64(m[2]+k[2]) + uint64(m[1]+k[1])*uint64(m[3]+k[3])
		}
	}
	for _, s := range sum {
		sums = binary.LittleEndian.AppendUint64(sums, s)
	}
	return sums
}

// add128 adds numbers of 128 bits, little-endian.
func add128(to []byte, n [16]byte) {
	lo, carry := bits.Add64(binary.LittleEndian.Uint64(to), binary.LittleEndian.Uint64(n[:]), 0)
	hi, _ := bits.Add64(binary.LittleEndian.Uint64(to[8:]), binary.LittleEndian.Uint64(n[8:]), carry)
	binary.LittleEndian.PutUint64(to, lo)
	binary.LittleEndian.PutUint64(to[8:], hi)
}

func sub128(from []byte, n [16]byte) {
	lo, borrow := bits.Sub64(binary.LittleEndian.Uint64(from), binary.LittleEndian.Uint64(n[:]), 0)
	hi, _ := bits.Sub64(binary.LittleEndian.Uint64(from[8:]), binary.LittleEndian.Uint64(n[8:]), borrow)
	binary.LittleEndian.PutUint64(from, lo)
	binary.LittleEndian.PutUint64(from[8:], hi)
}

// stream adds XChaCha's key stream to b: draft-irtf-cfrg-xchacha-03, with
// fewer rounds if the cipher has them, and a counter of 64 bits from 0.
func (a *adiantum) stream(b []byte, nonce [24]byte) {
	var state [16]uint32
	copy(state[:], []uint32{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}) // "expand 32-byte k"
	words := func(at int, from []byte) {
		for i := 0; i < len(from); i += 4 {
			state[at+i/4] = binary.LittleEndian.Uint32(from[i:])
		}
	}
	words(4, a.key[:])
	words(12, nonce[:16])
	sub := state
	chachaRounds(&sub, a.rounds) // HChaCha: no final addition
	copy(state[4:8], sub[:4])
	copy(state[8:12], sub[12:])
	state[12], state[13] = 0, 0
	words(14, nonce[16:])

	for ; len(b) > 0; b = b[min(64, len(b)):] {
		x := state
		chachaRounds(&x, a.rounds)
		var out [64]byte
		for i := range x {
			binary.LittleEndian.PutUint32(out[4*i:], x[i]+state[i])
		}
		for i := range b[:min(64, len(b))] {
			b[i] ^= out[i]
		}
		state[12]++ // a sector has far less than 2³² blocks
	}
}

func chachaRounds(x *[16]uint32, rounds int) {
	quarter := func(a, b, c, d int) {
		x[a] += x[b]
		x[d] = bits.RotateLeft32(x[d]^x[a], 16)
		x[c] += x[d]
		x[b] = bits.RotateLeft32(x[b]^x[c], 12)
		x[a] += x[b]
		x[d] = bits.RotateLeft32(x[d]^x[a], 8)
		x[c] += x[d]
		x[b] = bits.RotateLeft32(x[b]^x[c], 7)
	}
	for range rounds / 2 {
		for i := range 4 {
			quarter(i, 4+i, 8+i, 12+i)
		}
		for i := range 4 {
			quarter(i, 4+(i+1)%4, 8+(i+2)%4, 12+(i+3)%4)
		}
	}
}

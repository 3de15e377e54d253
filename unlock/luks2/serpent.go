package luks2

import (
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
)

// serpent is the block cipher of Anderson, Biham and Knudsen (1998), in the
// byte order of crypto/serpent_generic.c. It works on 32 S-boxes at once, as
// logic: neither time nor memory access depends on key or data.
type serpent struct{ round [serpentRounds + 1][4]uint32 }

const (
	serpentRounds = 32
	serpentPhi    = 0x9e3779b9 // the golden ratio, in the key schedule
)

// serpentBoxes are the S-boxes S0 to S7.
var serpentBoxes = [8][16]byte{
	{3, 8, 15, 1, 10, 6, 5, 11, 14, 13, 4, 2, 7, 0, 9, 12},
	{15, 12, 2, 7, 9, 0, 5, 10, 1, 11, 14, 8, 6, 13, 3, 4},
	{8, 6, 7, 9, 3, 12, 10, 15, 13, 1, 14, 4, 0, 11, 5, 2},
	{0, 15, 11, 8, 12, 9, 6, 3, 13, 1, 2, 4, 10, 7, 5, 14},
	{1, 15, 8, 3, 12, 0, 11, 6, 2, 5, 4, 10, 9, 14, 7, 13},
	{15, 5, 2, 11, 4, 10, 9, 12, 0, 3, 14, 8, 13, 6, 7, 1},
	{7, 2, 12, 5, 8, 4, 6, 11, 14, 9, 1, 15, 13, 3, 10, 0},
	{1, 13, 15, 0, 14, 8, 2, 11, 7, 4, 12, 10, 9, 3, 5, 6},
}

// A sboxLogic is an S-box as sums of products: bit m of word i tells whether
// the product of the inputs that are set in m counts for output i.
type sboxLogic [4]uint16

var serpentForward, serpentInverse = func() (forward, inverse [8]sboxLogic) {
	for n, box := range serpentBoxes {
		var back [16]byte
		for in, out := range box {
			back[out] = byte(in)
		}
		forward[n], inverse[n] = logicOf(box), logicOf(back)
	}
	return forward, inverse
}()

// logicOf is the algebraic normal form of a box: the Möbius transform of its
// truth table.
func logicOf(box [16]byte) (l sboxLogic) {
	for out := range 4 {
		var form [16]byte
		for in, v := range box {
			form[in] = v >> out & 1
		}
		for step := 1; step < 16; step *= 2 {
			for m := range 16 {
				if m&step != 0 {
					form[m] ^= form[m^step]
				}
			}
		}
		for m, v := range form {
			l[out] |= uint16(v) << m
		}
	}
	return l
}

// apply puts 32 values, one bit of each in each word, through the box.
func (l sboxLogic) apply(x *[4]uint32) {
	var product [16]uint32
	product[0] = ^uint32(0)
	for i, w := range x {
		for m := range 1 << i {
			product[1<<i|m] = product[m] & w
		}
	}
	for i, form := range l {
		sum := uint32(0)
		for ; form != 0; form &= form - 1 {
			sum ^= product[bits.TrailingZeros16(form)]
		}
		x[i] = sum
	}
}

// newSerpent takes a key of at most 32 bytes; a shorter one is filled up by a
// bit that is set, and zeros.
func newSerpent(key []byte) cipher.Block {
	var padded [32]byte
	if copy(padded[:], key) < len(padded) {
		padded[len(key)] = 1
	}
	var w [8 + 4*(serpentRounds+1)]uint32
	for i := range 8 {
		w[i] = binary.LittleEndian.Uint32(padded[4*i:])
	}
	for i := 8; i < len(w); i++ {
		w[i] = bits.RotateLeft32(w[i-8]^w[i-5]^w[i-3]^w[i-1]^serpentPhi^uint32(i-8), 11)
	}

	s := &serpent{}
	for r := range s.round {
		s.round[r] = [4]uint32(w[8+4*r:])
		serpentForward[(3-r+64)%8].apply(&s.round[r])
	}
	clear(padded[:])
	clear(w[:])
	return s
}

func (*serpent) BlockSize() int { return 16 }

func (s *serpent) Encrypt(dst, src []byte) {
	x := serpentLoad(src)
	for r := range serpentRounds {
		serpentMix(&x, s.round[r])
		serpentForward[r%8].apply(&x)
		if r < serpentRounds-1 {
			serpentSpread(&x)
		}
	}
	serpentMix(&x, s.round[serpentRounds])
	serpentStore(dst, x)
}

func (s *serpent) Decrypt(dst, src []byte) {
	x := serpentLoad(src)
	serpentMix(&x, s.round[serpentRounds])
	for r := serpentRounds - 1; r >= 0; r-- {
		if r < serpentRounds-1 {
			serpentGather(&x)
		}
		serpentInverse[r%8].apply(&x)
		serpentMix(&x, s.round[r])
	}
	serpentStore(dst, x)
}

func serpentLoad(b []byte) (x [4]uint32) {
	for i := range x {
		x[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return x
}

func serpentStore(b []byte, x [4]uint32) {
	for i, w := range x {
		binary.LittleEndian.PutUint32(b[4*i:], w)
	}
}

func serpentMix(x *[4]uint32, key [4]uint32) {
	for i := range x {
		x[i] ^= key[i]
	}
}

// serpentSpread is the linear transformation, serpentGather its inverse.
func serpentSpread(x *[4]uint32) {
	x[0] = bits.RotateLeft32(x[0], 13)
	x[2] = bits.RotateLeft32(x[2], 3)
	x[1] = bits.RotateLeft32(x[1]^x[0]^x[2], 1)
	x[3] = bits.RotateLeft32(x[3]^x[2]^x[0]<<3, 7)
	x[0] = bits.RotateLeft32(x[0]^x[1]^x[3], 5)
	x[2] = bits.RotateLeft32(x[2]^x[3]^x[1]<<7, 22)
}

func serpentGather(x *[4]uint32) {
	x[2] = bits.RotateLeft32(x[2], -22) ^ x[3] ^ x[1]<<7
	x[0] = bits.RotateLeft32(x[0], -5) ^ x[1] ^ x[3]
	x[3] = bits.RotateLeft32(x[3], -7) ^ x[2] ^ x[0]<<3
	x[1] = bits.RotateLeft32(x[1], -1) ^ x[0] ^ x[2]
	x[2] = bits.RotateLeft32(x[2], -3)
	x[0] = bits.RotateLeft32(x[0], -13)
}

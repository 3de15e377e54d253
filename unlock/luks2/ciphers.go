package luks2

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	//lint:ignore SA1019 what people chose years ago must open
	"golang.org/x/crypto/twofish"
)

// Cipher is the cipher of Strict, and of every keyslot that is made here.
const Cipher = "aes-xts-plain64"

// A sectorCipher works in place on whole sectors, the first of which has
// the number iv in units of 512 bytes, whatever the sector size: dm-crypt
// without iv_large_sectors (drivers/md/dm-crypt.c).
type sectorCipher interface {
	decrypt(b []byte, sectorBytes int, iv uint64)
	encrypt(b []byte, sectorBytes int, iv uint64)
}

// A spec is one cipher that may be accepted.
type spec struct {
	name     string // as dm-crypt's table has it, one name for one cipher
	kernel   string // the same in the words of the kernel's crypto API, behind "capi:"
	keyBytes []int
	make     func(key []byte) sectorCipher
}

func specs() []spec {
	return []spec{
		{Cipher, "xts(aes)-plain64", []int{32, 64}, func(k []byte) sectorCipher { return newXTS(k) }},
		{"aes-cbc-essiv:sha256", "cbc(aes)-essiv:sha256", []int{16, 24, 32}, newESSIV},
		{"serpent-xts-plain64", "xts(serpent)-plain64", []int{32, 64}, func(k []byte) sectorCipher { return xtsOf(k, newSerpent) }},
		{"twofish-xts-plain64", "xts(twofish)-plain64", []int{32, 64}, func(k []byte) sectorCipher { return xtsOf(k, newTwofish) }},
		{"xchacha12,aes-adiantum-plain64", "adiantum(xchacha12,aes)-plain64", []int{32}, func(k []byte) sectorCipher { return newAdiantum(k, 12) }},
		{"xchacha20,aes-adiantum-plain64", "adiantum(xchacha20,aes)-plain64", []int{32}, func(k []byte) sectorCipher { return newAdiantum(k, 20) }},
	}
}

func specOf(name string) (spec, bool) {
	all := specs()
	i := slices.IndexFunc(all, func(s spec) bool { return s.name == name })
	if i < 0 {
		return spec{}, false
	}
	return all[i], true
}

// newSectorCipher makes a cipher that was judged.
func newSectorCipher(name string, key []byte) sectorCipher {
	s, ok := specOf(name)
	if !ok {
		panic("no cipher " + name) // a bug: only judged names come here
	}
	return s.make(key)
}

// CheckCipher tells whether dm-crypt may be given a cipher with a key of so
// many bytes: only names and sizes that Cryptsetup accepts.
func CheckCipher(name string, keyBytes int) error {
	s, ok := specOf(name)
	if !ok || !slices.Contains(s.keyBytes, keyBytes) {
		return fmt.Errorf("cipher %.80q with a key of %d bytes is not one that is opened", name, keyBytes)
	}
	return nil
}

func newTwofish(key []byte) cipher.Block {
	b, err := twofish.NewCipher(key)
	if err != nil {
		panic(err) // a wrong key length is a bug: all sizes were judged
	}
	return b
}

// essiv is CBC in sectors, the IV of which is the encrypted number of the
// sector: crypt_iv_essiv_gen in drivers/md/dm-crypt.c, and crypto/essiv.c.
type essiv struct{ data, iv cipher.Block }

func newESSIV(key []byte) sectorCipher {
	salt := sha256.Sum256(key)
	defer clear(salt[:])
	return essiv{newAES(key), newAES(salt[:])}
}

func newAES(key []byte) cipher.Block {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // a wrong key length is a bug: all sizes were judged
	}
	return b
}

func (e essiv) sectors(b []byte, sectorBytes int, iv uint64, mode func(cipher.Block, []byte) cipher.BlockMode) {
	for ; len(b) >= sectorBytes; b = b[sectorBytes:] {
		var number [aes.BlockSize]byte
		binary.LittleEndian.PutUint64(number[:], iv)
		e.iv.Encrypt(number[:], number[:])
		mode(e.data, number[:]).CryptBlocks(b[:sectorBytes], b[:sectorBytes])
		iv += uint64(sectorBytes / ivSector)
	}
}

func (e essiv) decrypt(b []byte, sectorBytes int, iv uint64) {
	e.sectors(b, sectorBytes, iv, cipher.NewCBCDecrypter)
}

func (e essiv) encrypt(b []byte, sectorBytes int, iv uint64) {
	e.sectors(b, sectorBytes, iv, cipher.NewCBCEncrypter)
}

package luks2

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// ivSector is the unit of plain64 IVs, in bytes, whatever the sector size:
// dm-crypt without iv_large_sectors (drivers/md/dm-crypt.c).
const ivSector = 512

// xts is a block cipher of 16 bytes in XTS mode (IEEE 1619-2018) in whole
// sectors with the plain64 IV. golang.org/x/crypto/xts computes the same;
// this one doubles the tweak in two words instead of sixteen bytes and takes
// many sectors at once, which is twice as fast (BenchmarkXTS).
type xts struct {
	data, tweak cipher.Block
}

func newXTS(key []byte) xts { return xtsOf(key, newAES) }

// xtsOf uses one half of the key for the data, the other for the tweak.
func xtsOf(key []byte, block func(key []byte) cipher.Block) xts {
	half := len(key) / 2
	return xts{block(key[:half]), block(key[half:])}
}

// decrypt works in place on whole sectors, the first of which has the
// number iv in units of 512 bytes.
func (x xts) decrypt(b []byte, sectorBytes int, iv uint64) {
	x.sectors(b, sectorBytes, iv, x.data.Decrypt)
}

func (x xts) encrypt(b []byte, sectorBytes int, iv uint64) {
	x.sectors(b, sectorBytes, iv, x.data.Encrypt)
}

func (x xts) sectors(b []byte, sectorBytes int, iv uint64, crypt func(dst, src []byte)) {
	var t [aes.BlockSize]byte
	for ; len(b) >= sectorBytes; b = b[sectorBytes:] {
		t = [aes.BlockSize]byte{}
		binary.LittleEndian.PutUint64(t[:], iv)
		x.tweak.Encrypt(t[:], t[:])
		lo, hi := binary.LittleEndian.Uint64(t[:]), binary.LittleEndian.Uint64(t[8:])
		for i := 0; i < sectorBytes; i += aes.BlockSize {
			block := b[i : i+aes.BlockSize : i+aes.BlockSize]
			xor128(block, lo, hi)
			crypt(block, block)
			xor128(block, lo, hi)
			// Times x in GF(2^128): IEEE 1619-2018, section 5.2.
			lo, hi = lo<<1^0x87&-(hi>>63), hi<<1|lo>>63
		}

		iv += uint64(sectorBytes / ivSector)
	}
}

func xor128(b []byte, lo, hi uint64) {
	binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^lo)
	binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^hi)
}

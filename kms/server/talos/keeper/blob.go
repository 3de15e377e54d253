package keeper

import (
	"encoding/binary"
	"slices"

	"latchkey/kms/server/talos"
)

// head begins a blob. It is part of what the blob is bound to.
type head struct {
	flags   byte
	version uint32 // of the ring
}

const (
	format   = 1
	bound    = 1 // flag: to the source address
	headSize = 1 + 1 + 4
)

func (h head) encode() []byte {
	return binary.BigEndian.AppendUint32([]byte{format, h.flags}, h.version)
}

func readHead(blob []byte) (h head, rest []byte, ok bool) {
	if len(blob) != talos.BlobSize || blob[0] != format || blob[1]&^bound != 0 {
		return h, nil, false
	}
	return head{blob[1], binary.BigEndian.Uint32(blob[2:])}, blob[headSize:], true
}

// aad: another machine's blob does not open, nor one sealed from elsewhere
// if it is bound to an address.
func (h head) aad(a talos.Ask) []byte {
	aad := slices.Concat([]byte("lk1/talos"), h.encode(), a.UUID[:])
	if h.flags&bound != 0 {
		from := a.From.As16()
		aad = append(aad, from[:]...)
	}
	return aad
}

func (h head) explain(err error) string {
	if h.flags&bound != 0 {
		return err.Error() + " (it is bound to the address that sealed it)"
	}
	return err.Error()
}

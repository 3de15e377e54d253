package ledger

import (
	"encoding/binary"
	"fmt"
)

var keyState = []byte("state")

// state is what every transaction carries on: sealed, one record.
type state struct {
	epoch     uint64   // rises with every change of what is to be given to whom
	set       [32]byte // digest over all sealed records
	auditSeq  uint64
	auditHash [32]byte
}

func (s state) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.epoch)
	b = append(b, s.set[:]...)
	b = binary.BigEndian.AppendUint64(b, s.auditSeq)
	return append(b, s.auditHash[:]...)
}

func decodeState(b []byte) (s state, err error) {
	if len(b) != 80 {
		return s, fmt.Errorf("reading the state record: %w", ErrUnverified)
	}
	s.epoch = binary.BigEndian.Uint64(b)
	s.set = [32]byte(b[8:40])
	s.auditSeq = binary.BigEndian.Uint64(b[40:])
	s.auditHash = [32]byte(b[48:])
	return s, nil
}

func (v View) readState() (state, error) {
	plain, epoch, err := v.l.vault.open(place{tableMeta, keyState, 0}, v.r.Get(tableMeta, keyState))
	if err != nil {
		return state{}, err
	}
	st, err := decodeState(plain)
	if err == nil && st.epoch != epoch {
		err = fmt.Errorf("reading the state record: %w", ErrUnverified)
	}
	return st, err
}

func xor(to *[32]byte, with [32]byte) {
	for i := range to {
		to[i] ^= with[i]
	}
}

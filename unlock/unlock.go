// Package unlock turns what a Source yields into an opened volume: it
// checks that the volume is the enrolled one, finds the keyslot, and has
// the kernel map it. One file per Source.
package unlock

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"

	"latchkey/boot/codes"
	"latchkey/internal/pcr"
	"latchkey/internal/secret"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
)

// A Volume is one LUKS2 volume that the Plan requires, found on a device.
type Volume struct {
	Name    string // of the mapping
	Device  string // path of the block device
	Header  *luks2.Header
	Digest  []byte // header subset digest that the plan pins, or empty
	Options dm.Options
}

// An Opened says how a volume was opened. It holds no secret.
type Opened struct {
	Slot      int
	Candidate int         // which of those that were tried
	Staged    bool        // the staged secret opened it
	MAC       [32]byte    // volume-key MAC
	Measure   pcr.Digests // for PCR 15
}

// A Mapper has the kernel decrypt a volume: dm.Map, or a fake in tests.
type Mapper func(dm.Target, luks2.VolumeKey) error

// A Candidate is one passphrase that a Source yields.
type Candidate struct {
	Passphrase secret.Bytes
	Staged     bool
	Slots      []int // the keyslots that it may be for; none is any
}

// Expect is what is known of the true volume from elsewhere than its own
// header: by the plan or by the KMS. Empty fields are not known.
type Expect struct {
	Digest []byte // header subset digest
	MAC    []byte // volume-key MAC
}

// And is what is known by two of the volume's sources, the second one's word
// before the first one's.
func (e Expect) And(more Expect) Expect {
	if len(more.Digest) > 0 {
		e.Digest = more.Digest
	}
	if len(more.MAC) > 0 {
		e.MAC = more.MAC
	}
	return e
}

// An Error is a volume that stays closed, with a stable code.
type Error struct {
	Volume string
	code   string
	Err    error
}

// Codes of this package.
const (
	CodeLocked   = "volume-locked" // not the enrolled volume: final
	CodeWrongKey = "wrong-key"     // no keyslot takes what the source yields
	CodeMap      = "mapping"       // the kernel refused the mapping
	CodeRead     = "volume-io"     // the device cannot be read
)

func (e *Error) Error() string { return fmt.Sprintf("opening %s: %v", e.Volume, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Code is the stable code.
func (e *Error) Code() string { return e.code }

// Judge checks a volume's header against what is known of it. It comes
// before any key is tried: an attacker's volume gets none to see.
func (v *Volume) Judge(known Expect) error {
	have := v.Header.SubsetDigest()
	for _, want := range [][]byte{v.Digest, known.Digest} {
		if len(want) != 0 && !hmac.Equal(want, have[:]) {
			return &Error{v.Name, CodeLocked, errors.New("its header is not the enrolled one")}
		}
	}
	return nil
}

// Open opens the volume with the first candidate that has a keyslot,
// checks that the key is the enrolled volume's, and maps it.
func (v *Volume) Open(ctx context.Context, r io.ReaderAt, candidates []Candidate, known Expect, memory *luks2.Memory, mapper Mapper) (Opened, error) {
	if err := v.Judge(known); err != nil {
		return Opened{}, err
	}
	key, slot, which, err := v.find(ctx, r, candidates, memory)
	if err != nil {
		return Opened{}, err
	}
	defer key.Wipe()
	mac := key.MAC()
	if len(known.MAC) != 0 && !hmac.Equal(known.MAC, mac[:]) {
		return Opened{}, &Error{v.Name, CodeLocked, errors.New("its volume key is not the enrolled one")}
	}

	if err := mapper(dm.Target{Name: v.Name, Device: v.Device, Segment: v.Header.Segment(), Options: v.Options}, key); err != nil {
		return Opened{}, &Error{v.Name, CodeMap, err}
	}
	return Opened{Slot: slot, Candidate: which, Staged: candidates[which].Staged, MAC: mac, Measure: v.measure(key)}, nil
}

func (v *Volume) find(ctx context.Context, r io.ReaderAt, candidates []Candidate, memory *luks2.Memory) (key luks2.VolumeKey, slot, which int, err error) {
	err = &Error{v.Name, CodeWrongKey, luks2.ErrWrongKey}
	for which, c := range candidates {
		slots := c.Slots
		if len(slots) == 0 {
			slots = []int{luks2.AnySlot}
		}
		for _, s := range slots {
			key, slot, err = v.Header.Unlock(ctx, r, luks2.Attempt{Passphrase: c.Passphrase, Slot: s, Memory: memory})
			switch {
			case err == nil:
				return key, slot, which, nil
			case errors.Is(err, luks2.ErrWrongKey):
				err = &Error{v.Name, CodeWrongKey, err}
			default:
				code, ok := codes.Find(err)
				if !ok {
					code = CodeRead
				}
				return key, 0, 0, &Error{v.Name, code, err}
			}
		}
	}
	return key, 0, 0, err
}

// measure is what systemd-cryptsetup(8) extends PCR 15 with (option
// tpm2-measure-pcr=; src/cryptsetup/cryptsetup.c, measure_volume_key):
// the HMAC of "cryptsetup:NAME:UUID" by the volume key. Names need no
// escaping: the plan allows no colon in them.
func (v *Volume) measure(key luks2.VolumeKey) pcr.Digests {
	return pcr.MeasureSecret(key.Bytes().Reveal(), []byte("cryptsetup:"+v.Name+":"+key.UUID()))
}

package luks2

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
)

// MaxBackup is the size of the largest backup, in bytes.
const MaxBackup = 2*maxHeader + maxKeyslots

// A Backup is a copy of a volume's header copies and keyslots, byte for byte
// what cryptsetup luksHeaderBackup writes and luksHeaderRestore reads
// (LUKS2_hdr_backup in lib/luks2/luks2_json_metadata.c). Whoever has it and a
// key of its time opens the volume, for good.
type Backup struct {
	*Header
	image []byte
}

// Bytes are the backup, not a copy.
func (b *Backup) Bytes() []byte { return b.image }

// areasEnd is where header copies and keyslots end.
func (h *Header) areasEnd() int64 { return 2*int64(len(h.raw)) + h.meta.keyslotsSize }

// Backup copies the header and its keyslots while nobody changes them. The
// backup has two good copies of the header, whatever the volume has.
func (h *Header) Backup(s Storage) (*Backup, error) {
	b, err := h.backup(s)
	if err != nil {
		return nil, fmt.Errorf("backing up the header of volume %s: %w", h.uuid, err)
	}
	return b, nil
}

func (h *Header) backup(s Storage) (*Backup, error) {
	if h.format == luks1 {
		return nil, ErrLUKS1
	}
	image := make(memory, h.areasEnd())
	if _, err := h.locked(s, func() error {
		if err := readFull(s, image, 0); err != nil {
			return &IOError{err}
		}
		return nil
	}); err != nil {
		return nil, err
	}

	b, err := ReadBackup(image, h.deviceSize)
	if err != nil {
		return nil, err
	}
	b.Header, err = b.Mend(image)
	return b, err
}

// ReadBackup judges a backup as the header of a device of so many bytes. The
// error is a *Rejected.
func ReadBackup(image []byte, deviceSize int64) (*Backup, error) {
	h, err := ReadAny(memory(image), deviceSize)
	if _, short := errors.AsType[*IOError](err); short {
		return nil, reject("backup-size", "a backup of %d bytes is cut short", len(image))
	}
	if err != nil {
		return nil, err
	}
	switch {
	case int64(len(image)) < h.areasEnd():
		return nil, reject("backup-size", "the backup has %d bytes, the header and its keyslots have %d", len(image), h.areasEnd())
	case len(h.Keyslots()) == 0:
		return nil, reject("no-usable-keyslot", "no keyslot of the backup can be used")
	}
	return &Backup{h, image}, nil
}

// memory is Storage.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	return copy(m[min(off, int64(len(m))):], p), nil
}
func (memory) Sync() error { return nil }

// SameVolume tells whether two headers are of one volume key and payload.
func (h *Header) SameVolume(other *Header) bool {
	return h.SubsetDigest() == other.SubsetDigest() && len(h.raw) == len(other.raw) && h.meta.keyslotsSize == other.meta.keyslotsSize
}

// Differs lists the keyslots of the backup that a header has no more, and
// those that it has and the backup has not. A number alone says nothing: it
// may be another keyslot's by now.
func (b *Backup) Differs(now *Header) (removed, added []int) {
	missing := func(all []slot, in []slot) []int {
		ids := []int{}
		for _, s := range all {
			if !slices.ContainsFunc(in, s.same) {
				ids = append(ids, s.ID)
			}
		}
		return ids
	}
	return missing(b.meta.slots, now.meta.slots), missing(now.meta.slots, b.meta.slots)
}

// same tells by the salt of its KDF, or else by its text, whether two slots
// hold the same key.
func (s slot) same(other slot) bool {
	if s.skip == nil && other.skip == nil {
		return bytes.Equal(s.KDF.salt, other.KDF.salt)
	}
	return bytes.Equal(s.text, other.text)
}

// Rotten refuses a backup whose keyslots show that it is damaged: an area of
// zeros, or other bytes than a volume has in the keyslot of the same salt.
// There is no checksum over areas, so that only a key proves them.
func (b *Backup) Rotten(r io.ReaderAt, now *Header) error {
	for _, s := range b.meta.slots {
		area := b.area(s)
		if s.skip == nil {
			area = area[:s.stripeBytes()]
		}
		if len(bytes.Trim(area, "\x00")) == 0 {
			return reject("backup-keyslot", "keyslot %d of the backup is all zeros", s.ID)
		}
		i := -1
		if now != nil {
			i = slices.IndexFunc(now.meta.slots, s.same)
		}
		if i < 0 {
			continue
		}
		there := make([]byte, len(area))
		if err := readFull(r, there, now.meta.slots[i].areaOffset); err != nil {
			return &IOError{err}
		}
		if !bytes.Equal(there, area) {
			return reject("backup-keyslot", "keyslot %d of the backup and the device's have one salt and other bytes: one of the two is damaged", s.ID)
		}
	}
	return nil
}

// Unlock is Header.Unlock on the backup's own keyslots.
func (b *Backup) Unlock(ctx context.Context, a Attempt) (VolumeKey, int, error) {
	return b.Header.Unlock(ctx, memory(b.image), a)
}

// Erase destroys all keyslots, usable or not, and then the header's word of
// them and all tokens: what cryptsetup erase does. Nothing but a backup opens
// the volume again. After a cut some keyslots may open still: erase again.
func (h *Header) Erase(s Storage) (*Header, error) {
	if h.format == luks1 {
		return nil, ErrLUKS1
	}
	text, err := h.edited(edit{metadata: func(m *metadata) error {
		for len(m.slots) > 0 {
			if err := m.remove(m.slots[0].ID, nil); err != nil {
				return err
			}
		}
		m.tokens = nil
		return nil
	}})
	if err != nil {
		return nil, err
	}

	after, err := h.locked(s, func() error {
		if err := scramble(s, 2*int64(len(h.raw)), h.areasEnd()); err != nil {
			return err
		}
		return h.writeBoth(s, text, h.SeqID()+1)
	})
	if err != nil {
		return nil, fmt.Errorf("erasing the keyslots of volume %s: %w", h.uuid, err)
	}
	return after, nil
}

// writeBoth writes the copy not in use first, then the other one: at any
// moment one complete copy is on the disk.
func (h *Header) writeBoth(s Storage, text []byte, seqID uint64) error {
	if err := h.writeCopy(s, int64(len(h.raw))-h.used, text, seqID); err != nil {
		return err
	}
	return h.writeCopy(s, h.used, text, seqID)
}

// scramble writes noise over [from, to).
func scramble(s Storage, from, to int64) error {
	noise := make([]byte, min(to-from, 1<<20))
	for at := from; at < to; at += int64(len(noise)) {
		part := noise[:min(int64(len(noise)), to-at)]
		rand.Read(part)
		if _, err := s.WriteAt(part, at); err != nil {
			return fmt.Errorf("overwriting keyslots: %w", err)
		}
	}
	if from >= to {
		return nil
	}
	return s.Sync()
}

package main

import (
	"context"
	"errors"

	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/together"
)

// readParts makes or reads what is the same in all keyslots.
func (t *togetherEnrollment) readParts() (err error) {
	t.parts = map[string]secret.Bytes{}
	for _, kind := range t.sources() {
		switch kind {
		case together.KMS:
			t.parts[kind] = secret.Random(32)
		case together.KeyFile:
			if t.parts[kind], err = readKeyFile(t.partFile); err != nil {
				return err
			}
		}
	}
	return nil
}

// alone refuses a part that is the key of a keyslot: who has the stick would
// need nothing else.
func (t *togetherEnrollment) alone(ctx context.Context, path string) error {
	part, ok := t.parts[together.KeyFile]
	if !ok {
		return nil
	}
	f, h, err := readVolume(path)
	if err != nil {
		return err
	}
	defer f.Close()
	volume, slot, err := h.Unlock(ctx, f, attempt(part, luks2.AnySlot))
	volume.Wipe()
	if errors.Is(err, luks2.ErrWrongKey) {
		return nil
	}
	if err != nil {
		return volumeExit(path, err)
	}
	return cli.Usagef("--part-file %s: it opens keyslot %d alone, so that nothing else would be needed: take a file of its own (head -c 32 /dev/urandom)", t.partFile, slot)
}

package luks2_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// A shared disk is one that another program changes before it lets go of
// the lock; it records what is done under the lock and what is not.
type shared struct {
	disk
	meanwhile func()
	locked    bool
	outside   []string
	locks     int
}

func (s *shared) Lock() (func() error, error) {
	if s.meanwhile != nil {
		s.meanwhile()
	}
	s.locked = true
	s.locks++
	return func() error { s.locked = false; return nil }, nil
}

func (s *shared) note(what string, off int64) {
	if !s.locked {
		s.outside = append(s.outside, fmt.Sprintf("%s at %d", what, off))
	}
}

func (s *shared) ReadAt(p []byte, off int64) (int, error) {
	s.note("read", off)
	return s.disk.ReadAt(p, off)
}

func (s *shared) WriteAt(p []byte, off int64) (int, error) {
	s.note("write", off)
	return s.disk.WriteAt(p, off)
}

// changes are all that write a header.
var changes = []struct {
	name string
	do   func(h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error
}{
	{"add-key", func(h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error {
		_, _, err := h.AddKey(s, key, random("a third random key of 32 bytes!!"))
		return err
	}},
	{"remove-key", func(h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error {
		_, err := h.RemoveKey(s, 1)
		return err
	}},
	{"set-token", func(h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error {
		_, _, err := h.SetToken(s, luks2.AnyToken, json.RawMessage(`{"type":"a","keyslots":[]}`))
		return err
	}},
	{"remove-token", func(h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error {
		_, err := h.RemoveToken(s, 0)
		return err
	}},
}

// two is a volume with two keyslots and a token.
func two(t *testing.T) (*luks2.Header, luks2.VolumeKey, disk) {
	t.Helper()
	h, key, d := format(t)
	second := random("another random key of 32 bytes!!")
	second.Token = func(slot int) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"type":"b","keyslots":["%d"]}`, slot))
	}
	h, _, err := h.AddKey(d, key, second)
	if err != nil {
		t.Fatal(err)
	}
	return h, key, d
}

// What another program changed before it let go of the lock is seen, and
// nothing of it is overwritten: neither header nor keyslot areas, which it
// may have just filled (faults/node.md H7).
func TestChangedMeanwhile(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			h, key, d := two(t)
			var theirs disk
			s := &shared{disk: d, meanwhile: func() {
				now, err := read(d)
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := now.AddKey(d, key, random("their own random key of 32 bytes")); err != nil {
					t.Fatal(err)
				}
				theirs = clone(d)
			}}
			if err := c.do(h, key, s); !errors.Is(err, luks2.ErrChanged) {
				t.Errorf("the change = %v, want %v", err, luks2.ErrChanged)
			}
			if !bytes.Equal(theirs, d) {
				t.Error("what the other program wrote was overwritten")
			}
		})
	}
}

// All that a change reads and writes is done under the lock, which is let
// go afterwards.
func TestChangeIsLocked(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			h, key, d := two(t)
			s := &shared{disk: d}
			if err := c.do(h, key, s); err != nil {
				t.Fatal(err)
			}
			if s.locks != 1 || s.locked || len(s.outside) > 0 {
				t.Errorf("locked %d times, still locked: %v, done outside: %q", s.locks, s.locked, s.outside)
			}
		})
	}
}

// A keyslot and the token that names it are there both, or none of them,
// after a power cut at any moment (faults/node.md M10).
func TestKeyAndTokenAreOneChange(t *testing.T) {
	h, key, base := format(t)
	second := random("another random key of 32 bytes!!")
	second.Token = func(slot int) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"type":"latchkey","keyslots":["%d"]}`, slot))
	}
	check := func(t *testing.T, rec *luks2test.Recorder, base disk) {
		t.Helper()
		rec.Cuts(base, func(name string, d disk) {
			h, err := read(d)
			if err != nil {
				t.Fatalf("cut at %s: %v", name, err)
			}
			if len(h.Keyslots()) != 1+len(h.Tokens()) {
				t.Errorf("cut at %s: %d keyslots and %d tokens", name, len(h.Keyslots()), len(h.Tokens()))
			}
		})
	}

	rec := &luks2test.Recorder{Disk: clone(base)}
	h, slot, err := h.AddKey(rec, key, second)
	if err != nil || len(h.Tokens()) != 1 || h.Tokens()[0].Keyslots[0] != slot {
		t.Fatalf("AddKey = slot %d, %v, tokens %v", slot, err, h.Tokens())
	}
	check(t, rec, base)

	base = clone(rec.Disk)
	rec = &luks2test.Recorder{Disk: clone(base)}
	if _, err := h.RemoveKey(rec, slot, h.Tokens()[0].ID); err != nil {
		t.Fatal(err)
	}
	check(t, rec, base)

	bad := random(randomKey)
	bad.Token = func(int) json.RawMessage { return json.RawMessage(`{"type":"a","keyslots":["9"]}`) }
	before := clone(rec.Disk)
	h, err = read(rec.Disk)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.AddKey(rec.Disk, key, bad); code(err) != "token" || !bytes.Equal(before, rec.Disk) {
		t.Errorf("AddKey with a token of another keyslot = %v, want code token and nothing written", err)
	}
}

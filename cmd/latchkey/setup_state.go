package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"latchkey/internal/datafile"
	"latchkey/unlock"
)

// A setupState is what setup has done, for --undo. It is written before a
// header is touched, and after each step: a run that is killed leaves it.
type setupState struct {
	Volumes []setupVolume `json:"volumes"`
	// Config is the SHA-256 of latchkey.yaml as it was written.
	Config string `json:"config,omitempty"`
}

// A setupVolume has the keyslots that were added to a volume, each with its
// fingerprint: a number may be another keyslot's later.
type setupVolume struct {
	UUID     string         `json:"uuid"`
	Keyslots map[int]string `json:"keyslots"`
	// Before are those that it had when a run began on it that did not come to
	// its end; nil of one that did.
	Before map[int]string `json:"before,omitempty"`
	// Stored: one of the keyslots is the key server's, which may have its key.
	Stored bool `json:"stored,omitempty"`
}

func (s *setupState) of(uuid string) *setupVolume {
	for i := range s.Volumes {
		if s.Volumes[i].UUID == uuid {
			return &s.Volumes[i]
		}
	}
	return nil
}

// state is what is written; without a file the error is fs.ErrNotExist.
func (o *setup) state() (s setupState, err error) {
	path := o.update.entry(statePath)
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w", path, err)
	}
	return s, nil
}

func (o *setup) save(s setupState) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return datafile.Write(o.update.entry(statePath), append(text, '\n'))
}

// begin writes down the keyslots that the volumes have. What a run of before
// wrote stays: its keyslots are still to be taken back.
func (o *setup) begin(m *machine) (*setupState, error) {
	s, err := o.state()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, v := range m.chosen {
		if s.of(v.uuid) == nil {
			s.Volumes = append(s.Volumes, setupVolume{UUID: v.uuid, Keyslots: map[int]string{}})
		}
		if one := s.of(v.uuid); one.Before == nil {
			if one.Before, err = keyslotsOf(v.path); err != nil {
				return nil, err
			}
		}
	}
	return &s, o.save(s)
}

// note takes down the keyslots that came since the volume was begun on. One
// that no token names is none of setup's.
func (v *setupVolume) note(path string) error {
	f, h, err := readVolume(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, k := range slotsOfHeader(h) {
		if print := unlock.Fingerprint(h, k.ID); print != v.Before[k.ID] && k.owner != ownerNone {
			v.Keyslots[k.ID] = print
			v.Stored = v.Stored || k.owner == ownerKMS
		}
	}
	v.Before = nil
	return nil
}

// stopped is the error of a run that did not come to its end. If it changed
// nothing, nothing is left of it.
func (o *setup) stopped(s setupState, err error) error {
	for _, v := range s.Volumes {
		if len(v.Keyslots) > 0 {
			return fmt.Errorf("%w; latchkey setup --undo takes back what was done, or run it again", err)
		}
	}
	if s.Config != "" {
		return err
	}
	return errors.Join(fmt.Errorf("%w; nothing was changed: run it again", err), os.Remove(o.update.entry(statePath)))
}

// keyslotsOf are a volume's keyslots with their fingerprints.
func keyslotsOf(path string) (map[int]string, error) {
	f, h, err := readVolume(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[int]string{}
	for _, k := range h.Keyslots() {
		all[k.ID] = unlock.Fingerprint(h, k.ID)
	}
	return all, nil
}

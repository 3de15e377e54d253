package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	bootreport "latchkey/boot/report"
	"latchkey/internal/plan"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/keyfile"
)

// A syncing brings the keyslots of one volume in line with a plan. It asks
// nobody: what a key server or tang server says, or does not say, removes no
// keyslot.
type syncing struct {
	disk      luks2.Storage
	sizeBytes int64
	plan      *plan.Plan
	volume    plan.Volume
	boot      bootreport.Report
	try       bool // change nothing
}

// A synced is what was done to a volume, and what is left to people.
type synced struct {
	UUID    string   `json:"uuid"`
	Name    string   `json:"name"`
	Removed []int    `json:"removed"`
	Added   []int    `json:"added"`
	Left    []string `json:"left"` // in words
}

// ownerSources are the sources whose keyslots tell that they are theirs.
var ownerSources = map[owner]string{ownerKMS: plan.SourceKMS, ownerSystemd: plan.SourceSystemd, ownerClevis: plan.SourceClevis}

// drop removes the keyslots of sources that the plan does not list any more,
// one at a time: not those of people, nor what nobody here knows, nor what an
// unfinished rotation or announcement needs. It does so only in a boot that
// opened the volume by this plan, whose keyslot stays.
func (s *syncing) drop(out *synced) error {
	h, err := s.read()
	if err != nil {
		return err
	}
	var left []int
	for _, k := range slotsOfHeader(h) {
		from := ownerSources[k.owner]
		if from != "" && !s.plan.Uses(s.volume, from) {
			left = append(left, k.ID)
		}
	}
	opened, why := s.opened()
	if why == "" && unfinished(h) {
		why = "a rotation or an announcement has not ended"
	}
	left = slices.DeleteFunc(left, func(id int) bool { return id == opened })
	if len(left) == 0 {
		return nil
	}
	if why != "" || s.try {
		out.Left = append(out.Left, strings.TrimSuffix(fmt.Sprintf("%s: no source of the plan opens by it: %s", slotWords(left), why), ": "))
		return nil
	}

	for _, id := range left {
		if h, err = h.RemoveKey(s.disk, id, tokensOnly(h, id)...); err != nil {
			return err
		}
		out.Removed = append(out.Removed, id)
	}
	return nil
}

// unfinished tells whether a header has keyslots that others wait for.
func unfinished(h *luks2.Header) bool {
	marks := slices.ContainsFunc(unlock.Marks(h), func(m unlock.Mark) bool { return m.State != unlock.MarkEnrolled })
	waits := slices.ContainsFunc(bound(h), func(b boundToken) bool { return b.waits(h) })
	return marks || waits || len(unlock.Renewals(h)) > 0
}

// opened is the keyslot that opened the volume in this boot, or why nothing
// may be concluded from it.
func (s *syncing) opened() (slot int, why string) {
	booted := fmt.Sprintf("open %s as %s by %s", s.volume.UUID, s.volume.Name, s.plan.By(s.volume))
	words := strings.FieldsFunc(s.boot.Plan, func(r rune) bool { return r == ',' || r == ';' })
	if !slices.ContainsFunc(words, func(w string) bool { return strings.TrimSpace(w) == booted }) {
		return -1, "this boot had another plan for the volume: boot an image with this one first"
	}
	for _, v := range s.boot.Volumes {
		if v.UUID == s.volume.UUID && v.Code == "" {
			return v.Keyslot, ""
		}
	}
	return -1, "this boot has not opened the volume"
}

// add gives keyslots to key files of the image that have none. key opens the
// volume.
func (s *syncing) add(ctx context.Context, out *synced, key luks2.NewKey) error {
	for _, name := range s.volume.Sources {
		f, ok := s.plan.KeyFile(name)
		if !ok || f.Device != "" {
			continue
		}
		if err := s.addFile(ctx, out, f, key); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}

func (s *syncing) addFile(ctx context.Context, out *synced, f plan.KeyFile, key luks2.NewKey) error {
	text, err := keyfile.Read(keyfile.Device{}, keyfile.File{Path: f.Path, Offset: f.Offset, Size: f.Size})
	if errors.Is(err, fs.ErrNotExist) {
		out.Left = append(out.Left, fmt.Sprintf("%s is not on this machine", f))
		return nil
	}
	if err != nil {
		return err
	}
	defer text.Wipe()
	h, err := s.read()
	if err != nil {
		return err
	}
	volume, _, err := h.Unlock(ctx, s.disk, attempt(text, luks2.AnySlot))
	volume.Wipe()
	if err == nil || !errors.Is(err, luks2.ErrWrongKey) {
		return err
	}
	if key.Passphrase.Len() == 0 || s.try {
		out.Left = append(out.Left, fmt.Sprintf("%s has no keyslot: --key-file with a key of the volume adds it", f))
		return nil
	}
	if volume, _, err = h.Unlock(ctx, s.disk, attempt(key.Passphrase, luks2.AnySlot)); err != nil {
		return err
	}
	defer volume.Wipe()
	after, slot, err := h.AddKey(s.disk, volume, luks2.NewKey{Passphrase: text, Slot: luks2.AnySlot, Random: isRandom(text)})
	if err != nil {
		return err
	}
	again, _, err := after.Unlock(ctx, s.disk, attempt(text, slot))
	again.Wipe()
	out.Added = append(out.Added, slot)
	return err
}

// missing says which sources open nothing yet, and what makes it so: a key
// server, the TPM or a person has to take part.
func (s *syncing) missing(out *synced) error {
	h, err := s.read()
	if err != nil {
		return err
	}
	for _, from := range sourcesOf(s.plan, s.volume, h) {
		if len(from.Keyslots) == 0 && from.What != unseen && !strings.HasPrefix(from.Name, plan.SourceKeyFile) {
			out.Left = append(out.Left, fmt.Sprintf("nothing opens it by %s: %s", from.Name, from.What))
		}
	}
	return nil
}

// read reads the header for a change, and mends what a cut has left.
func (s *syncing) read() (*luks2.Header, error) {
	h, err := luks2.ReadAny(s.disk, s.sizeBytes)
	if err != nil || s.try {
		return h, err
	}
	return h.Mend(s.disk)
}

// devicePath is where a volume of the plan is found.
func devicePath(uuid string, given map[string]string) string {
	if path, ok := given[uuid]; ok {
		return path
	}
	return byUUID + "/" + uuid
}

// absent tells whether a device is not there, which nofail allows.
func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// Package backup keeps copies of a key server's database in other places:
// each is one consistent state, verified as a server would verify it, read
// back from where it was written, and as many are kept as are wanted. What
// the database means is known to who judges the copy.
package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"
)

// A Place keeps backups. What Put has written is there whole, on stable
// storage, or not at all; files that are no backups are not its own.
type Place interface {
	fmt.Stringer
	Put(ctx context.Context, name Name, write func(io.Writer) error) error
	Open(ctx context.Context, name Name) (io.ReadCloser, error)
	List(ctx context.Context) ([]File, error) // in any order
	Remove(ctx context.Context, name Name) error
}

// A File is a backup in a place.
type File struct {
	Name
	Bytes int64
}

// Facts are what a copy was found to hold.
type Facts struct {
	Epoch   uint64 `json:"epoch"`
	Records int    `json:"records"`
	Events  uint64 `json:"audit_events"`
}

// A Maker makes backups.
type Maker struct {
	Places  []Place
	To      []age.Recipient // who can open them; none: they are as sealed as the database is
	Keep    int             // how many stay in each place; 0: all
	Scratch string          // directory of a copy while it is judged
	Of      string          // OfServer of the key server

	Write func(io.Writer) error            // one consistent state of the database
	Judge func(path string) (Facts, error) // opens a copy as a server would

	last Made // the one before
}

// Made is a backup that was made.
type Made struct {
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	Bytes  int64     `json:"bytes"` // of the database in it
	Places []string  `json:"places"`
	Facts
}

// scratchPattern is the name of a copy while it is judged.
const scratchPattern = ".backup-*.db"

// Make makes one backup and removes those that are too many. A place that
// fails leaves the others theirs; then there are both a Made that names the
// places that have it and an error. Nothing is removed from a place that
// failed.
func (m *Maker) Make(ctx context.Context) (made Made, err error) {
	if err := m.sweep(); err != nil {
		return Made{}, fmt.Errorf("making a backup: %w", err)
	}
	copied, err := os.CreateTemp(m.Scratch, scratchPattern) // mode 0600
	if err != nil {
		return Made{}, fmt.Errorf("making a backup: %w", err)
	}
	defer os.Remove(copied.Name())
	defer copied.Close()

	began, hash := time.Now(), sha256.New()
	if err := m.Write(io.MultiWriter(&roomy{f: copied}, hash)); err != nil {
		return Made{}, fmt.Errorf("making a backup: copying the database to %s: %w", m.Scratch, err)
	}
	if made.Bytes, err = copied.Seek(0, io.SeekEnd); err != nil {
		return Made{}, fmt.Errorf("making a backup: %w", err)
	}
	if made.Facts, err = m.Judge(copied.Name()); err != nil {
		return Made{}, fmt.Errorf("making a backup: verifying the copy: %w", err)
	}

	made.At = m.time(began, made.Facts)
	name := Name{Of: m.Of, At: made.At, Epoch: made.Epoch, Sealed: len(m.To) > 0}
	made.Name = name.String()
	for _, place := range m.Places {
		if m.has(ctx, place, name) {
			made.Places = append(made.Places, place.String())
			continue
		}
		if bad := m.put(ctx, place, name, copied, [sha256.Size]byte(hash.Sum(nil))); bad != nil {
			err = errors.Join(err, fmt.Errorf("making a backup in %s: %w", place, bad))
			continue
		}
		made.Places = append(made.Places, place.String())
		if bad := m.prune(ctx, place, name); bad != nil {
			err = errors.Join(err, fmt.Errorf("removing old backups from %s: %w", place, bad))
		}
	}
	if len(made.Places) == 0 {
		return Made{}, err
	}
	m.last = made
	return made, err
}

// time is when a backup is made, to the second, as names have it. Of another
// state than the one before it is another second, though they are made in one.
func (m *Maker) time(began time.Time, facts Facts) time.Time {
	now := began.UTC().Truncate(time.Second)
	switch ahead := m.last.At.Sub(now); {
	case ahead < 0 || ahead > time.Minute: // the clock was set
		return now
	case m.last.Facts == facts:
		return m.last.At
	}
	return m.last.At.Add(time.Second)
}

// has tells whether a place has a backup of the same state, made in the same
// second: what differs is who remembered the one before.
func (m *Maker) has(ctx context.Context, place Place, name Name) bool {
	if m.last.Name != name.String() || !slices.Contains(m.last.Places, place.String()) {
		return false
	}
	all, err := place.List(ctx)
	return err == nil && slices.ContainsFunc(all, func(f File) bool { return f.Name == name })
}

// sweep removes copies that a server left which was killed.
func (m *Maker) sweep() error {
	left, err := filepath.Glob(filepath.Join(m.Scratch, scratchPattern))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// put writes a copy to a place and reads it back from there. What does not
// come back as it was does not stay.
func (m *Maker) put(ctx context.Context, place Place, name Name, copied io.ReaderAt, want [sha256.Size]byte) error {
	seal, err := newSealing(m.To)
	if err != nil {
		return err
	}
	err = place.Put(ctx, name, func(w io.Writer) error {
		return seal.write(w, io.NewSectionReader(copied, 0, 1<<62))
	})
	if err != nil {
		return err
	}
	if err := m.readBack(ctx, place, name, seal, want); err != nil {
		return errors.Join(fmt.Errorf("reading it back: %w", err), place.Remove(ctx, name))
	}
	return nil
}

func (m *Maker) readBack(ctx context.Context, place Place, name Name, seal *sealing, want [sha256.Size]byte) error {
	r, err := place.Open(ctx, name)
	if err != nil {
		return err
	}
	defer r.Close()
	plain, err := seal.open(r)
	if err != nil {
		return err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, plain); err != nil {
		return err
	}
	if [sha256.Size]byte(hash.Sum(nil)) != want {
		return errors.New("it is not what was written")
	}
	return nil
}

// prune removes all but the newest backups of this key server; the one that
// was just made stays, whatever the names of others say.
func (m *Maker) prune(ctx context.Context, place Place, made Name) error {
	if m.Keep == 0 {
		return nil
	}
	all, err := place.List(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(f File) bool { return f.Of != m.Of || f.Name == made })
	Sort(all)
	for len(all) > m.Keep-1 {
		err = errors.Join(err, place.Remove(ctx, all[0].Name))
		all = all[1:]
	}
	return err
}

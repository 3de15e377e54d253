package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"

	"latchkey/internal/datafile"
)

// Newest is the newest backup of a key server in a place; false if there is
// none.
func Newest(ctx context.Context, place Place, of string) (File, bool, error) {
	all, err := place.List(ctx)
	all = slices.DeleteFunc(all, func(f File) bool { return f.Of != of })
	if err != nil || len(all) == 0 {
		return File{}, false, err
	}
	Sort(all)
	return all[len(all)-1], true, nil
}

// Sort puts the oldest backup first.
func Sort(all []File) {
	slices.SortFunc(all, func(a, b File) int { return a.compare(b.Name) })
}

// A Source is one backup: a file, or a name in a place.
type Source struct {
	File       string
	Place      Place // instead of a file
	Name       Name
	Identities []age.Identity // that open it, if it is sealed
}

func (s Source) String() string {
	if s.Place == nil {
		return s.File
	}
	return fmt.Sprintf("%s in %s", s.Name, s.Place)
}

// Made is when the backup was made: by its name, else by its file.
func (s Source) Made() time.Time {
	if s.Place != nil {
		return s.Name.At
	}
	if n, ok := ParseName(filepath.Base(s.File)); ok {
		return n.At
	}
	info, err := os.Stat(s.File)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// ErrNone is that there is no backup anywhere.
var ErrNone = errors.New("there is no backup yet")

// FindNewest finds the newest backup in some places. away are those that did
// not answer: the newest may be there. Where there are backups of several key
// servers, which one is meant is not known.
func FindNewest(ctx context.Context, places []Place) (s Source, away error, err error) {
	for _, place := range places {
		all, bad := place.List(ctx)
		if bad != nil {
			away = errors.Join(away, fmt.Errorf("looking for backups in %s: %w", place, bad))
		}
		for _, one := range all {
			if s.Place != nil && one.Of != s.Name.Of {
				return s, away, fmt.Errorf("there are backups of several key servers (kms-%s-…, kms-%s-…): name the FILE of one; latchkey-kms store backups shows which are this server's", s.Name.Of, one.Of)
			}
			if s.Place == nil || one.compare(s.Name) > 0 {
				s = Source{Place: place, Name: one.Name}
			}
		}
	}
	if s.Place == nil {
		return s, away, errors.Join(away, ErrNone)
	}
	return s, away, nil
}

// Fetch copies the backup to a file, of mode 0600 and opened.
func (s Source) Fetch(ctx context.Context, to string) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	plain, err := Open(in, s.Identities)
	if err != nil {
		return err
	}
	out, err := datafile.Create(to)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, plain); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		os.Remove(to)
	}
	return err
}

func (s Source) open(ctx context.Context) (io.ReadCloser, error) {
	if s.Place != nil {
		return s.Place.Open(ctx, s.Name)
	}
	info, err := os.Stat(s.File) // before it is opened: to open a pipe waits
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file, so it is no backup", s.File)
	}
	return os.Open(s.File)
}

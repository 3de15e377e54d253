package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/internal/datafile"
)

// A Dir is a directory, best on another disk.
type Dir string

func (d Dir) String() string { return string(d) }

// partPattern is the name of a backup that is being written.
const partPattern = ".part-*"

// Put implements Place.
func (d Dir) Put(_ context.Context, name Name, write func(io.Writer) error) (err error) {
	if err := d.sweep(); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(d), partPattern) // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()

	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	path := filepath.Join(string(d), name.String())
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already", path)
	}
	return datafile.Replace(f.Name(), path)
}

// sweep removes what a server left that was killed while it wrote.
func (d Dir) sweep() error {
	left, err := filepath.Glob(filepath.Join(string(d), partPattern))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// Open implements Place.
func (d Dir) Open(_ context.Context, name Name) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(d), name.String()))
}

// List implements Place.
func (d Dir) List(context.Context) (all []File, err error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		n, ours := ParseName(e.Name())
		if !ours || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // another server removed it
		}
		if err != nil {
			return nil, err
		}
		all = append(all, File{n, info.Size()})
	}
	return all, nil
}

// Remove implements Place.
func (d Dir) Remove(_ context.Context, name Name) error {
	err := os.Remove(filepath.Join(string(d), name.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

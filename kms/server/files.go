package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A MarkFile keeps the epoch's high-water mark in a file.
type MarkFile string

// Read implements Mark. A mark that is not there is an error: it is written
// when a KMS is initialized.
func (m MarkFile) Read() (uint64, error) {
	b, err := os.ReadFile(string(m))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading %s: not a number", string(m))
	}
	return n, nil
}

// Write implements Mark: whole or not at all.
func (m MarkFile) Write(epoch uint64) error {
	return WriteFile(string(m), strconv.AppendUint(nil, epoch, 10))
}

// WriteFile replaces a file so that a power cut leaves the old or the new
// one, and syncs it. Its mode is 0600.
func WriteFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()

	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}

	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Replace puts a file that is on stable storage in another's place.
func Replace(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

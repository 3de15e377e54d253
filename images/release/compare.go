package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// compare tells which files of two folders are not the same, and where they
// begin to differ. Folders without a file in them do not make a difference,
// but that there is no file at all does.
func compare(a, b string) error {
	one, err := files(a)
	if err != nil {
		return err
	}
	other, err := files(b)
	if err != nil {
		return err
	}
	if len(one)+len(other) == 0 {
		return errors.New("neither has a file")
	}

	all := maps.Clone(one)
	maps.Copy(all, other)
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch mode, there := one[name]; {
		case !there:
			wrong = append(wrong, fmt.Errorf("only the second has %s", name))
		case other[name] == 0:
			wrong = append(wrong, fmt.Errorf("only the first has %s", name))
		case other[name] != mode:
			wrong = append(wrong, fmt.Errorf("%s has mode %v and %v", name, mode, other[name]))
		default:
			wrong = append(wrong, compareBytes(name, filepath.Join(a, name), filepath.Join(b, name)))
		}
	}
	return errors.Join(wrong...)
}

// known is a bit that every mode has in files.
const known = fs.ModeSticky

// files are the modes of what is in a folder by its path there.
func files(dir string) (map[string]fs.FileMode, error) {
	found := map[string]fs.FileMode{}
	return found, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if info.Mode()&fs.ModeType != 0 {
			return fmt.Errorf("%s is no plain file", path)
		}
		found[name] = info.Mode() | known
		return err
	})
}

func compareBytes(name, a, b string) error {
	one, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	other, err := os.ReadFile(b)
	if err != nil || bytes.Equal(one, other) {
		return err
	}

	at := 0
	for at < min(len(one), len(other)) && one[at] == other[at] {
		at++
	}
	near := func(b []byte) []byte { return b[min(at, len(b)):min(at+16, len(b))] }
	return fmt.Errorf("%s differs from byte %d on: %q and %q (%d and %d bytes)", name, at, near(one), near(other), len(one), len(other))
}

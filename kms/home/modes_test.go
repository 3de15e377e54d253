package home_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/kms/backup"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/server"
)

// shared is a KMS in a directory of which anybody may read and write every
// file, with the passphrase of its key elsewhere.
func shared(t *testing.T) home.Home {
	t.Helper()
	h := newHome(t)
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(passphrase, []byte("twelve bytes and more"), 0o444); err != nil {
		t.Fatal(err)
	}
	h.AnyMode, h.Place.AnyMode, h.Wrapping = true, true, config.Wrapping{Passphrase: passphrase}
	if _, err := h.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	forceModes(t, h)
	return h
}

func forceModes(t *testing.T, h home.Home) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.Data, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, h.Data) {
		if err := os.Chmod(f, 0o777); err != nil {
			t.Fatal(err)
		}
	}
}

// Where modes say nothing, all that is done with a KMS works whatever they
// are, and the server says what others may do.
func TestAnyMode(t *testing.T) {
	h := shared(t)
	saved := backUpOf(t, h)
	change(t, h, 1)
	if _, _, err := h.Restore(t.Context(), backup.Source{File: saved}); err != nil {
		t.Errorf("restoring: %v", err)
	}
	forceModes(t, h)
	if _, err := h.ChangeWrapping(t.Context(), home.WrappingChange{}); err != nil {
		t.Errorf("changing the wrapping key: %v", err)
	}
	change(t, h, 2)

	said := strings.Join(h.Warnings(), "\n")
	for _, want := range []string{"strict-modes is false: who else may write to " + h.Data, "keep it on another disk: mark"} {
		if !strings.Contains(said, want) {
			t.Errorf("warnings %q; want %q", said, want)
		}
	}
	h.Location.Mark = filepath.Join(t.TempDir(), "mark")
	if said := h.Warnings(); len(said) != 1 {
		t.Errorf("with the mark elsewhere, warnings %q; want one", said)
	}

	h.AnyMode, h.Place.AnyMode = false, false
	if err := os.Chmod(h.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Open(t.Context(), server.Config{}); err == nil || !strings.Contains(err.Error(), "others may read or write it") {
		t.Errorf("opening where modes count = %v; want a refusal", err)
	}
}

// Who reads the directory, or what is beside the database, must not find
// what opens it: neither there, nor by a link that leads there.
func TestKeyApart(t *testing.T) {
	h := shared(t)
	elsewhere, beside := t.TempDir(), t.TempDir()
	for _, f := range []string{filepath.Join(h.Data, "k"), filepath.Join(beside, "k")} {
		if err := os.WriteFile(f, []byte("twelve bytes and more"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Symlink(filepath.Join(h.Data, "k"), filepath.Join(elsewhere, "file")),
		os.Symlink(h.Data, filepath.Join(elsewhere, "folder")),
	); err != nil {
		t.Fatal(err)
	}

	for name, w := range map[string]config.Wrapping{
		"the default":       {},
		"a key":             {Key: filepath.Join(h.Data, "k")},
		"a passphrase":      {Passphrase: filepath.Join(h.Data, "k")},
		"deeper":            {Passphrase: filepath.Join(h.Data, "a/b/k")},
		"not straight":      {Passphrase: filepath.Join(h.Data, "../data/k")},
		"a link":            {Passphrase: filepath.Join(elsewhere, "file")},
		"a link to it":      {Passphrase: filepath.Join(elsewhere, "folder/k")},
		"beside the store":  {Passphrase: filepath.Join(beside, "k")},
		"a key that is new": {Key: filepath.Join(elsewhere, "folder/new")},
	} {
		one := h
		one.Wrapping = w
		if name == "beside the store" {
			one.Place.Path = filepath.Join(beside, "kms.db")
		}
		if _, err := one.Open(t.Context(), server.Config{}); err == nil || !strings.Contains(err.Error(), "the wrapping key is in ") {
			t.Errorf("%s: opening = %v; want a refusal", name, err)
		}
	}
	if _, err := h.ChangeWrapping(t.Context(), home.WrappingChange{To: config.Wrapping{Key: filepath.Join(h.Data, "new")}}); err == nil || !strings.Contains(err.Error(), "the wrapping key is in ") {
		t.Errorf("moving the key there = %v; want a refusal", err)
	}
}

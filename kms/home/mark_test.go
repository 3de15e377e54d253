package home_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/server"
)

// E2: the whole data directory is put back. A mark that is kept elsewhere
// notices it.
func TestDirectoryPutBack(t *testing.T) {
	h := newHome(t)
	h.Location.Mark = filepath.Join(t.TempDir(), "mark")
	if _, err := h.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(t.TempDir(), "saved")
	if err := os.CopyFS(saved, os.DirFS(h.Data)); err != nil {
		t.Fatal(err)
	}
	change(t, h, 1)
	if err := errors.Join(os.RemoveAll(h.Data), os.Rename(saved, h.Data), os.Chmod(h.Data, 0o700), os.Chmod(h.Place.Path, 0o600), os.Chmod(filepath.Join(h.Data, "wrapping.key"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if s, err := h.Open(t.Context(), server.Config{}); !errors.Is(err, ledger.ErrRolledBack) {
		t.Errorf("Open = %v, %v, want %v", s, err, ledger.ErrRolledBack)
	}

	second := newHome(t)
	second.Location.Mark = h.Location.Mark
	if _, err := second.Create(t.Context(), nil); err == nil {
		t.Error("init took another KMS' mark")
	}
}

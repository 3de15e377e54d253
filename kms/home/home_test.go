package home_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"

	"latchkey/kms"
	"latchkey/kms/backup"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/server"
)

// newHome is a data directory that does not exist yet.
func newHome(t *testing.T) home.Home {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	return home.Home{Location: config.Location{Data: dir, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(dir, "kms.db")}}}
}

func created(t *testing.T) home.Home {
	t.Helper()
	h := newHome(t)
	if _, err := h.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return h
}

// change makes a volume, as an operator would while no server runs.
func change(t *testing.T, h home.Home, n byte) {
	t.Helper()
	s, err := h.Open(t.Context(), server.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.PutVolume(t.Context(), kms.UUID{n}, secret.Passphrase()); err != nil {
		t.Fatal(err)
	}
}

func backUpOf(t *testing.T, h home.Home) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup.db")
	from, err := os.Open(h.Place.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	return path
}

// faults/kms.md M1: root administers a KMS that another user serves, and
// every file stays that user's.
func TestRootLeavesTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const user = 4711
	h := newHome(t)
	if err := os.MkdirAll(h.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(h.Data, user, user); err != nil {
		t.Fatal(err)
	}

	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"init", func() error { _, err := h.Create(context.Background(), nil); return err }},
		{"a change", func() error { change(t, h, 1); return nil }},
		{"restore", func() error {
			_, _, err := h.Restore(context.Background(), backup.Source{File: backUpOf(t, h)})
			return err
		}},
		{"wrapping change", func() error {
			_, err := h.ChangeWrapping(context.Background(), home.WrappingChange{})
			return err
		}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		files, err := os.ReadDir(h.Data)
		if err != nil || len(files) < 3 {
			t.Fatalf("after %s there are %v, %v; want a database, a mark and a key", step.name, files, err)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Sys().(*syscall.Stat_t); got.Uid != user || got.Gid != user {
				t.Errorf("after %s, %s belongs to %d:%d, want %d:%[5]d", step.name, f.Name(), got.Uid, got.Gid, user)
			}
		}
	}
}

// faults/field.md P18: a directory in which anyone may put files is refused
// by whatever would trust what is in it.
func TestOpenDirectory(t *testing.T) {
	h := created(t)
	saved := backUpOf(t, h)
	if err := os.Chmod(h.Data, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"open":            func() error { _, err := h.Open(t.Context(), server.Config{}); return err },
		"init":            func() error { _, err := h.Create(t.Context(), nil); return err },
		"restore":         func() error { _, _, err := h.Restore(t.Context(), backup.Source{File: saved}); return err },
		"wrapping change": func() error { _, err := h.ChangeWrapping(t.Context(), home.WrappingChange{}); return err },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "(mode 0777); run: chmod 0700 "+h.Data) {
			t.Errorf("%s in a directory of mode 0777 = %v, want a refusal that says chmod", name, err)
		}
	}

	if err := os.Chmod(h.Data, 0o750); err != nil {
		t.Fatal(err)
	}
	change(t, h, 1) // a group that may look is the operator's choice
}

// A backup takes the database's place, and what was there is beside it; one
// that does not verify takes nobody's.
func TestRestore(t *testing.T) {
	h := created(t)
	saved, then := backUpOf(t, h), checked(t, h)
	change(t, h, 1)

	if _, _, err := h.Restore(t.Context(), backup.Source{File: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("Restore of no file succeeded")
	}
	if _, _, err := h.Restore(t.Context(), backup.Source{File: "/dev/zero"}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Restore of a device = %v, want that it is no regular file", err)
	}
	other := backUpOf(t, created(t))
	if _, _, err := h.Restore(t.Context(), backup.Source{File: other}); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("Restore of another KMS' backup = %v, want that the wrapping key does not fit", err)
	}

	before := checked(t, h)
	r, kept, err := h.Restore(t.Context(), backup.Source{File: saved})
	if err != nil {
		t.Fatal(err)
	}
	if r.Epoch <= before.Epoch {
		t.Errorf("restored at epoch %d, want more than %d: the copy must not look older than what it replaces", r.Epoch, before.Epoch)
	}
	if got := checked(t, h); got.Records != then.Records {
		t.Errorf("restored %d records, want %d", got.Records, then.Records)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the database before: %v", err)
	}
	_, second, err := h.Restore(t.Context(), backup.Source{File: saved})
	if err != nil || second == kept {
		t.Errorf("a second Restore: %v, and what was there is %s, want another file than %s", err, second, kept)
	}
	if left, _ := filepath.Glob(filepath.Join(h.Data, ".*")); len(left) > 0 {
		t.Errorf("Restore left %v", left)
	}
}

// The database is gone with its directory's disk: a backup, the wrapping key
// and nothing else make a KMS again.
func TestRestoreIntoNothing(t *testing.T) {
	h := created(t)
	saved := backUpOf(t, h)
	for _, name := range []string{"kms.db", "epoch"} {
		if err := os.Remove(filepath.Join(h.Data, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := h.Restore(t.Context(), backup.Source{File: saved}); err != nil {
		t.Fatal(err)
	}
	checked(t, h)
}

func checked(t *testing.T, h home.Home) ledger.Checked {
	t.Helper()
	s, err := h.Open(t.Context(), server.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Check()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// E4: a data directory into which others may look, or write, is said, with
// what to do; one that anybody may write to is refused.
func TestLooseDirectoryIsSaid(t *testing.T) {
	h := created(t)
	for _, row := range []struct {
		mode os.FileMode
		want string
	}{
		{0o700, ""},
		{0o500, ""},
		{0o770, "others than its owner may write to the data directory: "},
		{0o720, "others than its owner may write to the data directory: "},
		{0o755, "others than its owner may look into the data directory, "},
		{0o750, "others than its owner may look into the data directory, "},
		{0o701, "others than its owner may look into the data directory, "},
	} {
		if err := os.Chmod(h.Data, row.mode); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(h.Warnings(), "; ")
		if !strings.HasPrefix(got, row.want) || row.want == "" && got != "" || row.want != "" && !strings.HasSuffix(got, "run: chmod 0700 "+h.Data) {
			t.Errorf("mode %04o: warnings %q, want %q", row.mode, got, row.want)
		}
	}
	if err := os.Chmod(h.Data, 0o700); err != nil {
		t.Fatal(err)
	}
}

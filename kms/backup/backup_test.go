package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"latchkey/kms/backup"
)

// of is the key server of these tests.
const of = "1f2e3d4c"

// database is what is backed up in these tests.
var database = bytes.Repeat([]byte("rows, sealed "), 10_000)

func maker(t *testing.T, places ...backup.Place) *backup.Maker {
	return &backup.Maker{
		Places: places, Scratch: t.TempDir(), Of: of,
		Write: func(w io.Writer) error {
			_, err := w.Write(database)
			return err
		},
		Judge: func(path string) (backup.Facts, error) {
			copied, err := os.ReadFile(path)
			if err == nil && !bytes.Equal(copied, database) {
				err = errors.New("the copy is not the database")
			}
			return backup.Facts{Epoch: 877, Records: 2104, Events: 51233}, err
		},
	}
}

// names are the files of a directory.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// A backup is what was there, of mode 0600, and nothing else is left.
func TestMake(t *testing.T) {
	dir := t.TempDir()
	m := maker(t, backup.Dir(dir))
	made, err := m.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, ok := backup.ParseName(made.Name)
	if !ok || n.Epoch != 877 || n.Sealed || time.Since(n.At) > time.Minute || made.Bytes != int64(len(database)) || !slices.Equal(made.Places, []string{dir}) {
		t.Errorf("Make = %+v", made)
	}
	if all := names(t, dir); !slices.Equal(all, []string{made.Name}) {
		t.Errorf("the directory has %v, want %s alone", all, made.Name)
	}
	if left := names(t, m.Scratch); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	info, err := os.Stat(filepath.Join(dir, made.Name))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup's mode: %v, %v; want 0600", info.Mode(), err)
	}
	if got := fetched(t, backup.Source{File: filepath.Join(dir, made.Name)}); !bytes.Equal(got, database) {
		t.Error("the backup is not the database")
	}
}

func fetched(t *testing.T, s backup.Source) []byte {
	t.Helper()
	to := filepath.Join(t.TempDir(), "fetched")
	if err := s.Fetch(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// As many stay as are wanted, the newest; what is not ours stays as it is.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	old := backup.Name{Of: of, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Epoch: 9}
	older := backup.Name{Of: of, At: old.At.Add(time.Hour), Epoch: 8, Sealed: true}
	foreign := []string{"kms-2026.db", "notes.txt", "kms-20260102T030405Z-e9.db", "kms-1f2e3d4c-20260102T030405Z-e09.db", "kms-00112233-20260102T030405Z-e9.db"}
	for _, name := range append([]string{old.String(), older.String()}, foreign...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := maker(t, backup.Dir(dir))
	m.Keep = 2
	made, err := m.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := append([]string{old.String(), made.Name}, foreign...)
	slices.Sort(want)
	if all := names(t, dir); !slices.Equal(all, want) {
		t.Errorf("there is %v, want %v", all, want)
	}
}

// The clock was ahead, and its backups are named so: one that is made when it
// is right stays, and is the newest. Those of another key server in the same
// place stay, too, and which is meant is asked for.
func TestAheadAndOthers(t *testing.T) {
	dir := backup.Dir(t.TempDir())
	for _, n := range []backup.Name{
		{Of: of, At: time.Now().AddDate(1, 0, 0).Truncate(time.Second), Epoch: 875}, {Of: of, At: time.Now().AddDate(1, 0, 1).Truncate(time.Second), Epoch: 876},
	} {
		if err := os.WriteFile(filepath.Join(string(dir), n.String()), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := maker(t, dir)
	m.Keep = 2
	made, err := m.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s, _, err := backup.FindNewest(t.Context(), []backup.Place{dir}); err != nil || s.Name.String() != made.Name {
		t.Errorf("the newest is %s, %v, want %s", s.Name, err, made.Name)
	}

	other := maker(t, dir)
	other.Of, other.Keep = "00112233", 1
	if _, err := other.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if newest, ok, err := backup.Newest(t.Context(), dir, of); !ok || err != nil || newest.String() != made.Name || len(names(t, string(dir))) != 3 {
		t.Errorf("beside another key server's the newest is %v, %t, %v of %v", newest, ok, err, names(t, string(dir)))
	}
	if _, _, err := backup.FindNewest(t.Context(), []backup.Place{dir}); err == nil || !strings.Contains(err.Error(), "several key servers") {
		t.Errorf("which is meant is not known: %v", err)
	}
}

func TestNames(t *testing.T) {
	n := backup.Name{Of: of, At: time.Date(2026, 11, 28, 20, 24, 38, 0, time.UTC), Epoch: 877}
	if n.String() != "kms-1f2e3d4c-20261128T202438Z-e877.db" {
		t.Errorf("the name is %s", n)
	}
	for _, text := range []string{"", "kms-", "kms-1f2e3d4c-20261128T202438Z-e877", "kms-1f2e3d4c-20261128T202438Z.db", "kms-20261328T202438Z-e877.db", "kms-1f2e3d4c-20261128T202438Z-e-1.db", "kms-1f2e3d4c-20261128T202438Z-e877.db.age.age", "../kms-1f2e3d4c-20261128T202438Z-e877.db", "kms-20261128T202438Z-e877.db", "kms-1F2E3D4C-20261128T202438Z-e877.db", "kms-1f2e-20261128T202438Z-e877.db"} {
		if _, ok := backup.ParseName(text); ok {
			t.Errorf("%q is taken for a backup", text)
		}
	}
}

// A broken place stands for disks that lose what they say they wrote.
type broken struct {
	backup.Place
	put, spoil, list error
	removed          []string
}

func (b *broken) Put(ctx context.Context, n backup.Name, write func(io.Writer) error) error {
	if b.put != nil {
		return b.put
	}
	return b.Place.Put(ctx, n, write)
}

func (b *broken) Open(ctx context.Context, n backup.Name) (io.ReadCloser, error) {
	r, err := b.Place.Open(ctx, n)
	if err != nil || b.spoil == nil {
		return r, err
	}
	defer r.Close()
	all, err := io.ReadAll(r)
	all[len(all)/2] ^= 1
	return io.NopCloser(bytes.NewReader(all)), err
}

func (b *broken) List(ctx context.Context) ([]backup.File, error) {
	if b.list != nil {
		return nil, b.list
	}
	return b.Place.List(ctx)
}

func (b *broken) Remove(ctx context.Context, n backup.Name) error {
	b.removed = append(b.removed, n.String())
	return b.Place.Remove(ctx, n)
}

// What does not come back as it was written is no backup, sealed or not; a
// place that fails takes nothing from the others, and loses nothing itself.
func TestPlacesThatFail(t *testing.T) {
	id := identity(age.GenerateX25519Identity())
	for name, one := range map[string]struct {
		with broken
		to   []age.Recipient
		want string
	}{
		"a bit flips":            {broken{spoil: errors.New("")}, nil, "reading it back: it is not what was written"},
		"a bit flips in the age": {broken{spoil: errors.New("")}, []age.Recipient{id.Recipient()}, "reading it back: "},
		"it cannot be written":   {broken{put: errors.New("no such share")}, nil, "no such share"},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := t.TempDir(), t.TempDir()
			before := backup.Name{Of: of, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Epoch: 9}
			if err := os.WriteFile(filepath.Join(bad, before.String()), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			one.with.Place = backup.Dir(bad)
			m := maker(t, &one.with, backup.Dir(good))
			m.Keep, m.To = 1, one.to
			made, err := m.Make(t.Context())
			if err == nil || !strings.Contains(err.Error(), one.want) || !strings.Contains(err.Error(), bad) {
				t.Errorf("Make: %v, want %q of %s", err, one.want, bad)
			}
			if !slices.Equal(made.Places, []string{good}) || !slices.Equal(names(t, good), []string{made.Name}) {
				t.Errorf("the good place has %v, and Make says %v", names(t, good), made.Places)
			}
			if all := names(t, bad); !slices.Equal(all, []string{before.String()}) {
				t.Errorf("the bad place has %v, want the backup of before", all)
			}
		})
	}
}

// A copy that is no good, or is not whole, is written nowhere.
func TestCopiesThatFail(t *testing.T) {
	for name, break_ := range map[string]func(*backup.Maker){
		"it does not verify": func(m *backup.Maker) {
			m.Judge = func(string) (backup.Facts, error) { return backup.Facts{}, errors.New("one was removed") }
		},
		"it is not whole": func(m *backup.Maker) {
			m.Write = func(w io.Writer) error {
				w.Write(database[:100])
				return errors.New("the store is away")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := maker(t, backup.Dir(dir))
			break_(m)
			if made, err := m.Make(t.Context()); err == nil || made.Name != "" {
				t.Errorf("Make = %+v, %v", made, err)
			}
			if all := slices.Concat(names(t, dir), names(t, m.Scratch)); len(all) > 0 {
				t.Errorf("%v is there", all)
			}
		})
	}
}

// What a server left that was killed goes with the next backup.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	m := maker(t, backup.Dir(dir))
	left := []string{filepath.Join(m.Scratch, ".backup-123.db"), filepath.Join(dir, ".part-123")}
	for _, path := range left {
		if err := os.WriteFile(path, database, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
}

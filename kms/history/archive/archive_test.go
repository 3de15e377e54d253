package archive_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/kms/history"
	"latchkey/kms/history/archive"
	"latchkey/kms/ledger"
)

var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// pubs are the keys that an auditor knows.
var pubs = []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}

// A sealed is a segment and its events.
type sealed struct {
	ledger.Segment
	events []byte
}

func (s sealed) write(w io.Writer) error { _, err := w.Write(s.events); return err }

// log makes segments of five events, in which the text stands.
func log(t *testing.T, n int, origin, text string) (all []sealed) {
	t.Helper()
	var tree history.Tree
	for i := range n {
		s := sealed{Segment: ledger.Segment{Number: uint64(i + 1), Start: tree.Size(), Before: tree.Edge()}}
		for range 5 {
			event := fmt.Appendf(nil, `{"seq":%d,"event":%q}`, tree.Size()+1, text)
			tree.Add(event)
			s.events = append(append(s.events, event...), '\n')
		}
		s.End, s.Edge = tree.Size(), tree.Edge()
		var err error
		if s.Checkpoint, err = (history.Head{Origin: origin, Size: s.End, Root: tree.Root()}).Sign(key); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func records(all []sealed) (out []ledger.Segment) {
	for _, s := range all {
		out = append(out, s.Segment)
	}
	return out
}

// filled is an archive of four segments.
func filled(t *testing.T, zstd bool) (archive.Archive, []sealed, string) {
	t.Helper()
	a, all := archive.Archive{Dir: t.TempDir(), Zstd: zstd}, log(t, 4, "latchkey/00ff", "x")
	for _, s := range all {
		if wrote, err := a.Put(s.Segment, s.write); err != nil || !wrote {
			t.Fatalf("Put = %t, %v", wrote, err)
		}
	}
	return a, all, filepath.Join(a.Dir, "latchkey-00ff")
}

// What was archived verifies, by what the server says and by the key alone,
// and is not written twice.
func TestArchive(t *testing.T) {
	for _, zstd := range []bool{false, true} {
		a, all, dir := filled(t, zstd)
		want := archive.Report{Segments: 4, Events: 20}
		if got, err := a.Against(records(all)); err != nil || got != want {
			t.Errorf("Against = %+v, %v, want %+v", got, err, want)
		}
		if got, err := a.Alone(pubs, nil); err != nil || got != want {
			t.Errorf("Alone = %+v, %v, want %+v", got, err, want)
		}
		a.Zstd = !zstd
		for _, s := range all {
			wrote, err := a.Put(s.Segment, func(io.Writer) error { t.Error("it was written again"); return nil })
			if wrote || err != nil {
				t.Errorf("Put again = %t, %v", wrote, err)
			}
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) != 8 {
			t.Errorf("there are %v, want two files of each segment", files)
		}

		// A cosignature that came later is kept, too.
		all[3].Checkpoint += "— witness.example AAAAAA==\n"
		if _, err := a.Put(all[3].Segment, all[3].write); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Get(all[3].Segment); err != nil || got.Checkpoint != all[3].Checkpoint {
			t.Errorf("Get = %q, %v", got.Checkpoint, err)
		}
	}
}

// One that was cut off at any point is completed by doing it again.
func TestCutOff(t *testing.T) {
	for _, keep := range []string{"", ".jsonl", ".jsonl.new", ".jsonl.zst"} {
		a, all, dir := filled(t, keep == ".jsonl.zst")
		at := filepath.Join(dir, "000000000002")
		for _, end := range []string{".json", ".jsonl", ".jsonl.zst"} {
			if end != keep {
				os.Remove(at + end)
			}
		}
		if keep == ".jsonl.new" {
			if err := os.WriteFile(at+keep, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		a.Zstd = false
		if wrote, err := a.Put(all[1].Segment, all[1].write); err != nil || !wrote {
			t.Errorf("with %q left: Put = %t, %v", keep, wrote, err)
		}
		if _, err := a.Alone(pubs, nil); err != nil {
			t.Errorf("with %q left: %v", keep, err)
		}
	}
	a, all, dir := filled(t, false)
	os.Remove(filepath.Join(dir, "000000000004.json"))
	for name, events := range map[string]func(io.Writer) error{
		"fails":     func(io.Writer) error { return io.ErrClosedPipe },
		"is short":  func(w io.Writer) error { _, err := w.Write(all[3].events[:30]); return err },
		"is others": all[2].write,
	} {
		if _, err := a.Put(all[3].Segment, events); err == nil {
			t.Errorf("Put of what %s succeeded", name)
		}
		if _, err := os.Stat(filepath.Join(dir, "000000000004.json")); err == nil {
			t.Errorf("Put of what %s is said to be whole", name)
		}
	}
}

// What becomes of an archive is told by name.
func TestDamage(t *testing.T) {
	other := log(t, 4, "latchkey/00ff", "y") // the same log, as it might have been
	for _, row := range []struct {
		name    string
		zstd    bool
		edit    func(a archive.Archive, at func(n int) string)
		against error // by the server's segments
		alone   error // by the key, and the checkpoint of the last segment
	}{
		{"a segment removed", false, func(_ archive.Archive, at func(int) string) { os.Remove(at(2) + ".json"); os.Remove(at(2) + ".jsonl") }, history.ErrRemoved, history.ErrRemoved},
		{"the first segments removed", false, func(_ archive.Archive, at func(int) string) {
			for _, n := range []int{1, 2} {
				os.Remove(at(n) + ".json")
				os.Remove(at(n) + ".jsonl")
			}
		}, history.ErrRemoved, history.ErrRemoved},
		{"events removed", false, func(_ archive.Archive, at func(int) string) { os.Remove(at(2) + ".jsonl") }, history.ErrRemoved, history.ErrRemoved},
		{"the last segment removed", false, func(_ archive.Archive, at func(int) string) { os.Remove(at(4) + ".json") }, history.ErrRemoved, history.ErrTruncated},
		{"events of two exchanged", false, func(_ archive.Archive, at func(int) string) {
			os.Rename(at(2)+".jsonl", at(0))
			os.Rename(at(3)+".jsonl", at(2)+".jsonl")
			os.Rename(at(0), at(3)+".jsonl")
		}, history.ErrSwapped, history.ErrSwapped},
		{"two segments exchanged", false, func(_ archive.Archive, at func(int) string) {
			for _, end := range []string{".jsonl", ".json"} {
				os.Rename(at(2)+end, at(0))
				os.Rename(at(3)+end, at(2)+end)
				os.Rename(at(0), at(3)+end)
			}
		}, history.ErrPutBack, history.ErrSwapped},
		{"events cut short", false, func(_ archive.Archive, at func(int) string) { os.Truncate(at(2)+".jsonl", 60) }, history.ErrTruncated, history.ErrTruncated},
		{"compressed events cut short", true, func(_ archive.Archive, at func(int) string) { os.Truncate(at(2)+".jsonl.zst", 40) }, history.ErrTruncated, history.ErrTruncated},
		{"an event more", false, func(_ archive.Archive, at func(int) string) {
			f, _ := os.OpenFile(at(4)+".jsonl", os.O_APPEND|os.O_WRONLY, 0)
			f.WriteString("{}\n")
			f.Close()
		}, history.ErrSwapped, history.ErrSwapped},
		{"an event edited", false, func(_ archive.Archive, at func(int) string) {
			b, _ := os.ReadFile(at(2) + ".jsonl")
			os.WriteFile(at(2)+".jsonl", bytes.Replace(b, []byte("x"), []byte("z"), 1), 0o600)
		}, history.ErrSwapped, history.ErrSwapped},
		{"one of another state put back", false, func(a archive.Archive, at func(int) string) {
			os.Remove(at(3) + ".json")
			a.Put(other[2].Segment, other[2].write)
		}, history.ErrPutBack, history.ErrPutBack},
		{"all of another state put back", false, func(a archive.Archive, at func(int) string) {
			for i, s := range other {
				os.Remove(at(i+1) + ".json")
				a.Put(s.Segment, s.write)
			}
		}, history.ErrPutBack, history.ErrPutBack},
		{"a record that is none", false, func(_ archive.Archive, at func(int) string) { os.WriteFile(at(2)+".json", []byte("{"), 0o600) }, history.ErrSwapped, history.ErrSwapped},
		{"all of it gone", false, func(a archive.Archive, _ func(int) string) { os.RemoveAll(filepath.Join(a.Dir, "latchkey-00ff")) }, history.ErrRemoved, history.ErrRemoved},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, all, dir := filled(t, row.zstd)
			row.edit(a, func(n int) string { return filepath.Join(dir, fmt.Sprintf("%012d", n)) })
			wanted := records(all)
			for i := range wanted {
				wanted[i].Removed = true
			}
			h, err := history.Parse(all[3].Checkpoint)
			if err != nil {
				t.Fatal(err)
			}
			_, against := a.Against(wanted)
			_, alone := a.Alone(pubs, []history.Head{h})
			for _, one := range []struct {
				name      string
				got, want error
			}{{"Against", against, row.against}, {"Alone", alone, row.alone}} {
				if !errors.Is(one.got, one.want) || strings.Contains(one.got.Error(), "\n") {
					t.Errorf("%s = %v, want one line of %v", one.name, one.got, one.want)
				}
			}
		})
	}
}

// By another's key nothing verifies; what the store still has may be missing.
func TestKeysAndRest(t *testing.T) {
	a, _, _ := filled(t, false)
	other := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	if _, err := a.Alone([]ed25519.PublicKey{other}, nil); !errors.Is(err, history.ErrUnsigned) {
		t.Errorf("Alone by another key = %v, want %v", err, history.ErrUnsigned)
	}
	want := archive.Report{Segments: 4, Events: 20, Missing: 2}
	if got, err := a.Against(records(log(t, 6, "latchkey/00ff", "x"))); err != nil || got != want {
		t.Errorf("Against = %+v, %v, want %+v", got, err, want)
	}
}

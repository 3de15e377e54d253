package archive

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"latchkey/kms/history"
	"latchkey/kms/ledger"
)

// A Report is what a verification found.
type Report struct {
	Segments int    `json:"segments"` // that were read
	Events   uint64 `json:"events"`   // in these
	Missing  int    `json:"missing"`  // segments that the store still has, and the archive not yet
}

// Against verifies the archive by the segments that a server names. What the
// server has removed must be there.
func (a Archive) Against(segments []ledger.Segment) (r Report, err error) {
	if _, err := os.Stat(a.Dir); err != nil {
		return r, err
	}
	for _, s := range segments {
		switch _, err := a.Get(s); {
		case errors.Is(err, fs.ErrNotExist) && s.Removed:
			return r, fmt.Errorf("segment %d, events %d to %d%s: %w: its events are neither in the store nor in %s", s.Number, s.Start+1, s.End, ofServer(s), history.ErrRemoved, a.Dir)
		case errors.Is(err, fs.ErrNotExist):
			r.Missing++
		case err != nil:
			return r, err
		default:
			r.Segments++
			r.Events += s.End - s.Start
		}
	}
	return r, nil
}

func ofServer(s ledger.Segment) string {
	if s.Server == "" {
		return ""
	}
	return " of server " + s.Server
}

// Alone verifies the archive by nothing but keys of the KMS and, if there
// are any, checkpoints that were kept elsewhere: each log's segments follow on
// each other, and a key signed its last checkpoint, which covers all.
func (a Archive) Alone(keys []ed25519.PublicKey, kept []history.Head) (r Report, err error) {
	logs, err := os.ReadDir(a.Dir)
	if err != nil {
		return r, err
	}
	for _, log := range logs {
		if log.IsDir() {
			if err := a.log(filepath.Join(a.Dir, log.Name()), keys, kept, &r); err != nil {
				return r, err
			}
		}
	}
	if r.Segments == 0 {
		return r, fmt.Errorf("verifying %s: %w: there is none in it", a.Dir, history.ErrRemoved)
	}
	for _, h := range kept {
		if !slices.ContainsFunc(logs, func(e fs.DirEntry) bool { return e.Name() == filepath.Base(a.folder(h.Origin)) }) {
			return r, fmt.Errorf("verifying %s: %w: it has no log %s", a.Dir, history.ErrRemoved, h.Origin)
		}
	}
	return r, nil
}

// log verifies one log's folder.
func (a Archive) log(dir string, keys []ed25519.PublicKey, kept []history.Head, r *Report) error {
	numbers, err := numbersIn(dir)
	if err != nil || len(numbers) == 0 {
		return err
	}
	var last ledger.Segment
	var head history.Head
	for _, n := range numbers {
		at := filepath.Join(dir, fmt.Sprintf("%012d", n))
		s, err := readRecord(at)
		if err != nil {
			return err
		}
		h, err := history.Parse(s.Checkpoint)
		if err != nil || a.folder(h.Origin) != dir || s.Number != n {
			return fmt.Errorf("reading %s: %w: it is of another place", at, history.ErrSwapped)
		}
		if last.Number != 0 {
			if err := follows(at, head, last, s); err != nil {
				return err
			}
		}
		if err := verify(at, s); err != nil {
			return err
		}
		for _, k := range kept {
			if k.Origin == h.Origin && k.Size == h.Size && k.Root != h.Root {
				return fmt.Errorf("reading %s: %w: the checkpoint that was kept has another root", at, history.ErrPutBack)
			}
		}
		last, head = s, h
		r.Segments++
		r.Events += s.End - s.Start
	}
	for _, k := range kept {
		if k.Origin == head.Origin && k.Size > head.Size {
			return fmt.Errorf("reading %s: %w: it ends at event %d, and the checkpoint that was kept has %d", dir, history.ErrTruncated, head.Size, k.Size)
		}
	}
	if _, err := history.Open(last.Checkpoint, keys...); err != nil {
		return fmt.Errorf("reading %s: %w", dir, err)
	}
	if numbers[0] != 1 {
		return fmt.Errorf("reading %s: %w: it begins with segment %d, and what was before is not there; the %d from there on are verified", dir, history.ErrRemoved, numbers[0], len(numbers))
	}
	return nil
}

// follows tells whether a segment begins where the one before ended.
func follows(at string, before history.Head, last, s ledger.Segment) error {
	if s.Number != last.Number+1 || s.Start != last.End {
		return fmt.Errorf("reading %s: %w: between segments %d and %d", filepath.Dir(at), history.ErrRemoved, last.Number, s.Number)
	}
	tree, err := history.Grown(s.Start, s.Before)
	if err != nil || tree.Root() != before.Root {
		return fmt.Errorf("reading %s: %w: segment %d does not follow on segment %d", filepath.Dir(at), history.ErrPutBack, s.Number, last.Number)
	}
	return nil
}

// numbersIn are the segments whose record is there, ascending.
func numbersIn(dir string) (all []uint64, err error) {
	files, err := os.ReadDir(dir)
	for _, f := range files {
		name, is := strings.CutSuffix(f.Name(), extRecord)
		if n, err := strconv.ParseUint(name, 10, 64); is && err == nil {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, err
}

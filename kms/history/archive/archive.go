// Package archive keeps sealed segments of an audit log as files, beside the
// store or after it: a folder for each log, and in it for each segment its
// events, one on a line as they were logged, and its record with the
// checkpoint. A segment is there once its record is.
package archive

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"latchkey/internal/datafile"
	"latchkey/kms/history"
	"latchkey/kms/ledger"
)

// An Archive is a folder.
type Archive struct {
	Dir  string
	Zstd bool // what is written is compressed
}

// Names of a segment's files end so.
const (
	extRecord = ".json"
	extEvents = ".jsonl"
	extZstd   = ".jsonl.zst"
)

// folder is a log's, by its origin.
func (a Archive) folder(origin string) string {
	return filepath.Join(a.Dir, strings.ReplaceAll(origin, "/", "-"))
}

// place is a segment's, without the end of its name.
func (a Archive) place(s ledger.Segment) (string, error) {
	h, err := history.Parse(s.Checkpoint)
	if err != nil || strings.Contains(h.Origin, "..") {
		return "", fmt.Errorf("segment %d: %w: its checkpoint names no log", s.Number, history.ErrSwapped)
	}
	return filepath.Join(a.folder(h.Origin), fmt.Sprintf("%012d", s.Number)), nil
}

// Put writes a segment, unless it is there, and reads it back. events gives
// its lines.
func (a Archive) Put(s ledger.Segment, events func(io.Writer) error) (wrote bool, err error) {
	at, err := a.place(s)
	if err != nil {
		return false, err
	}
	there, err := a.Get(s)
	switch {
	case err == nil && there.Checkpoint == s.Checkpoint:
		return false, nil
	case err == nil: // more cosignatures
		return false, writeRecord(at, s)
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%w; move it away, and archive again", err)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return false, err
	}
	if err := a.writeEvents(at, events); err != nil {
		return false, fmt.Errorf("writing %s: %w", at, err)
	}
	if err := verify(at, s); err != nil {
		return false, err
	}
	return true, writeRecord(at, s)
}

// writeEvents replaces the events' file by a whole one.
func (a Archive) writeEvents(at string, events func(io.Writer) error) (err error) {
	end, other := extEvents, extZstd
	if a.Zstd {
		end, other = extZstd, extEvents
	}
	f, err := datafile.Create(at + ".new")
	if err != nil {
		return err
	}
	defer os.Remove(at + ".new")
	out := io.WriteCloser(f)
	if a.Zstd {
		if out, err = zstd.NewWriter(f); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err = events(out); err == nil && a.Zstd {
		err = out.Close()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Remove(at + other); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was cut off
		return err
	}
	return datafile.Replace(at+".new", at+end)
}

func writeRecord(at string, s ledger.Segment) error {
	s.Removed = false // it is here
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return datafile.Write(at+extRecord, append(b, '\n'))
}

// Get reads the record of a segment and verifies its events by it. One that
// is not there is fs.ErrNotExist.
func (a Archive) Get(s ledger.Segment) (there ledger.Segment, err error) {
	at, err := a.place(s)
	if err != nil {
		return there, err
	}
	if there, err = readRecord(at); err != nil {
		return there, err
	}
	mine, err := history.Parse(s.Checkpoint)
	if err != nil {
		return there, err
	}
	other, err := history.Parse(there.Checkpoint)
	if err != nil || other != mine || there.Number != s.Number {
		return there, fmt.Errorf("reading %s: %w", at, history.ErrPutBack)
	}
	return there, verify(at, there)
}

// maxRecord bounds a record, in bytes: 2 · 62 hashes and the cosignatures of
// some witnesses.
const maxRecord = 1 << 20

func readRecord(at string) (s ledger.Segment, err error) {
	b, err := datafile.Read(at+extRecord, maxRecord)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w: %w", at+extRecord, history.ErrSwapped, err)
	}
	return s, nil
}

// maxEvent bounds an event, in bytes.
const maxEvent = 1 << 20

// verify compares the events with the checkpoint: they lead from the edge
// before to its root, and nothing else does.
func verify(at string, s ledger.Segment) error {
	name, in, err := openEvents(at)
	if err != nil {
		return err
	}
	defer in.Close()
	h, err := history.Parse(s.Checkpoint)
	if err != nil || h.Size != s.End || s.End <= s.Start {
		return fmt.Errorf("reading %s: %w: its record is of other events", name, history.ErrSwapped)
	}
	tree, err := history.Grown(s.Start, s.Before)
	if err != nil {
		return fmt.Errorf("reading %s: %w: %w", name, history.ErrSwapped, err)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		tree.Add(lines.Bytes())
	}
	switch {
	case errors.Is(lines.Err(), io.ErrUnexpectedEOF) || lines.Err() == nil && tree.Size() < s.End:
		return fmt.Errorf("reading %s: %w: it has %d events of %d", name, history.ErrTruncated, tree.Size()-s.Start, s.End-s.Start)
	case lines.Err() != nil:
		return fmt.Errorf("reading %s: %w: %w", name, history.ErrSwapped, lines.Err())
	case tree.Size() != h.Size || tree.Root() != h.Root:
		return fmt.Errorf("reading %s: %w", name, history.ErrSwapped)
	}
	return nil
}

// openEvents opens the events' file, compressed or not.
func openEvents(at string) (name string, in io.ReadCloser, err error) {
	f, err := os.Open(at + extEvents)
	if err == nil {
		return f.Name(), f, nil
	}
	if f, err = os.Open(at + extZstd); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("reading %s: %w: there is a record, and no events", at, history.ErrRemoved)
		}
		return "", nil, err
	}
	d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return "", nil, errors.Join(err, f.Close())
	}
	return f.Name(), unpacked{d.IOReadCloser(), f}, nil
}

// unpacked is a file that is read through a decoder.
type unpacked struct {
	io.ReadCloser
	f *os.File
}

// Close closes both.
func (u unpacked) Close() error { return errors.Join(u.ReadCloser.Close(), u.f.Close()) }

package ledger

import (
	"encoding/json"
	"errors"
	"fmt"

	"latchkey/kms/store"
)

// keyFormat is the record of tableMeta that says how the rest is written. It
// is not sealed, so that it can be read before any key, but counted.
var keyFormat = []byte("format")

// A format says which versions of this program may open a store.
type format struct {
	Version int `json:"version"` // how it is written: of the newest program that wrote it anew
	Writer  int `json:"writer"`  // the lowest version that may write to it
}

// current is the format of this program.
var current = format{Version: 1, Writer: 1}

// ErrNewer is a store that a later version of this program has changed.
var ErrNewer = errors.New("the store is of a newer version of latchkey")

func (f format) encode() []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // two numbers
	}
	return b
}

// checkFormat refuses a store that this program would damage. What the
// record says beside is for later versions.
func checkFormat(r store.Reader) error {
	raw := r.Get(tableMeta, keyFormat)
	if raw == nil && r.Get(tableMeta, keyWrapped) == nil {
		return nil // no KMS at all: said by who looks for its key
	}
	var f format
	if err := json.Unmarshal(raw, &f); err != nil || f.Version < 1 || f.Writer < 1 {
		return fmt.Errorf("reading the store's format: %w: there is no record of it, or none that can be read", ErrUnverified)
	}
	if f.Writer > current.Version {
		return fmt.Errorf("opening the store: %w: it is written in format %d, this program writes format %d, and format %d is the lowest that may; install the newer version", ErrNewer, f.Version, current.Version, f.Writer)
	}
	return nil
}

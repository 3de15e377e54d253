package history

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// A Proof shows that an event is in the log of a checkpoint.
type Proof struct {
	Event      []byte // as it was logged: the proof's extra data
	Index      uint64 // of the event in its log, from 0 on
	Hashes     []tlog.Hash
	Checkpoint string
}

// proofHeader begins a proof: C2SP tlog-proof.
const proofHeader = "c2sp.org/tlog-proof@v1"

// String is the proof as a file: C2SP tlog-proof.
func (p Proof) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, proofHeader)
	if len(p.Event) > 0 {
		fmt.Fprintln(&b, "extra", base64.StdEncoding.EncodeToString(p.Event))
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		fmt.Fprintln(&b, h)
	}
	return b.String() + "\n" + p.Checkpoint
}

// ParseProof reads one.
func ParseProof(text string) (p Proof, err error) {
	head, checkpoint, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != proofHeader {
		return p, errors.New("it is no proof: want " + proofHeader)
	}
	p.Checkpoint, lines = checkpoint, lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		if p.Event, err = base64.StdEncoding.DecodeString(lines[0][len("extra "):]); err != nil {
			return Proof{}, errors.New("it is no proof: its extra data is no Base64")
		}
		lines = lines[1:]
	}
	index, ok := "", false
	if len(lines) > 0 {
		index, ok = strings.CutPrefix(lines[0], "index ")
	}
	if p.Index, err = strconv.ParseUint(index, 10, 62); !ok || err != nil {
		return Proof{}, errors.New("it is no proof: it says no index")
	}
	for _, line := range lines[1:] {
		raw, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(raw) != tlog.HashSize || len(p.Hashes) == 63 {
			return Proof{}, fmt.Errorf("it is no proof: %.60q is no hash of it", line)
		}
		p.Hashes = append(p.Hashes, tlog.Hash(raw))
	}
	return p, nil
}

// Verify tells whether the proof holds, for the head of its checkpoint.
func (p Proof) Verify(h Head) error {
	if err := tlog.CheckRecord(p.Hashes, int64(h.Size), h.Root, int64(p.Index), tlog.RecordHash(p.Event)); err != nil {
		return fmt.Errorf("proving event %d of %s: %w", p.Index, h.Origin, ErrSwapped)
	}
	return nil
}

// Errors of a history that is not what was sealed.
var (
	ErrRemoved   = errors.New("a sealed segment is missing")
	ErrTruncated = errors.New("a sealed segment is cut short")
	ErrSwapped   = errors.New("the events are not those that were sealed")
	ErrPutBack   = errors.New("the segment is one of another state of the log")
)

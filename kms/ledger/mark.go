package ledger

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"latchkey/internal/datafile"
)

// A Mark is the epoch's high-water mark. It is kept apart from the
// database, so that an old copy of the database is noticed.
type Mark interface {
	Read() (uint64, error)
	Write(uint64) error
}

// ErrRolledBack is a database older than the high-water mark.
var ErrRolledBack = errors.New("the database is older than the last change made to it")

// A MarkFile keeps the epoch's high-water mark in a file.
type MarkFile string

// Read implements Mark. A mark that is not there is an error: it is written
// when a KMS is initialized.
func (m MarkFile) Read() (uint64, error) {
	b, err := os.ReadFile(string(m))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading %s: not a number", string(m))
	}
	return n, nil
}

// Write implements Mark: whole or not at all. The file is its directory's
// owner's.
func (m MarkFile) Write(epoch uint64) error {
	return datafile.Write(string(m), strconv.AppendUint(nil, epoch, 10))
}

// raiseMark follows the database: it is raised after a change is on disk,
// so that a crash between the two leaves the mark behind, never ahead.
func (l *Ledger) raiseMark(epoch uint64) error {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	if epoch <= l.raised {
		return nil
	}
	if err := l.mark.Write(epoch); err != nil {
		return fmt.Errorf("writing the epoch's high-water mark: %w", err)
	}
	l.raised = epoch
	return nil
}

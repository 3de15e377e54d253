package home

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"latchkey/internal/datafile"
)

// A markFile keeps the epoch's high-water mark: server.Mark.
type markFile string

// Read implements server.Mark. A mark that is not there is an error: it is
// written when a KMS is made.
func (m markFile) Read() (uint64, error) {
	b, err := os.ReadFile(string(m))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading %s: it is not a number", string(m))
	}
	return n, nil
}

// Write implements server.Mark: whole or not at all.
func (m markFile) Write(epoch uint64) error {
	return datafile.Write(string(m), strconv.AppendUint(nil, epoch, 10))
}

// freeMark lets any epoch in.
type freeMark struct{ at uint64 }

// Read implements server.Mark.
func (m *freeMark) Read() (uint64, error) { return m.at, nil }

// Write implements server.Mark.
func (m *freeMark) Write(n uint64) error { m.at = n; return nil }

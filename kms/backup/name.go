package backup

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Name says when a backup was made and of what epoch of the database.
type Name struct {
	At     time.Time // UTC, to the second
	Epoch  uint64
	Sealed bool // for recipients of age
}

// The form of a name: kms-20261128T202438Z-e877.db, and .age behind it.
const (
	nameBegin  = "kms-"
	nameTime   = "20060102T150405Z"
	nameEnd    = ".db"
	nameSealed = ".age"
)

func (n Name) String() string {
	text := fmt.Sprintf("%s%s-e%d%s", nameBegin, n.At.UTC().Format(nameTime), n.Epoch, nameEnd)
	if n.Sealed {
		text += nameSealed
	}
	return text
}

// ParseName reads the name of a backup; false for other files.
func ParseName(text string) (n Name, ok bool) {
	rest, begins := strings.CutPrefix(text, nameBegin)
	rest, n.Sealed = strings.CutSuffix(rest, nameSealed)
	rest, ends := strings.CutSuffix(rest, nameEnd)
	at, epoch, cut := strings.Cut(rest, "-e")
	if !begins || !ends || !cut {
		return Name{}, false
	}
	var failed error
	if n.At, failed = time.Parse(nameTime, at); failed != nil {
		return Name{}, false
	}
	if n.Epoch, failed = strconv.ParseUint(epoch, 10, 64); failed != nil {
		return Name{}, false
	}
	return n, n.String() == text
}

// compare orders by time, then by epoch.
func (n Name) compare(m Name) int {
	return cmp.Or(n.At.Compare(m.At), cmp.Compare(n.Epoch, m.Epoch))
}

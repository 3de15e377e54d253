package backup

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Name says of which key server a backup is, when it was made and of what
// epoch of the database.
type Name struct {
	Of     string    // eight hexadecimal digits that tell its key server from others
	At     time.Time // UTC, to the second
	Epoch  uint64
	Sealed bool // for recipients of age
}

// The form of a name: kms-1f2e3d4c-20261128T202438Z-e877.db, and .age behind
// it.
const (
	nameBegin  = "kms-"
	nameTime   = "20060102T150405Z"
	nameEnd    = ".db"
	nameSealed = ".age"
)

func (n Name) String() string {
	text := fmt.Sprintf("%s%s-%s-e%d%s", nameBegin, n.Of, n.At.UTC().Format(nameTime), n.Epoch, nameEnd)
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
	of, rest, cutOf := strings.Cut(rest, "-")
	at, epoch, cut := strings.Cut(rest, "-e")
	if raw, err := hex.DecodeString(of); !begins || !ends || !cut || !cutOf || err != nil || len(raw) != nameSize || of != strings.ToLower(of) {
		return Name{}, false
	}
	n.Of = of
	var failed error
	if n.At, failed = time.Parse(nameTime, at); failed != nil {
		return Name{}, false
	}
	if n.Epoch, failed = strconv.ParseUint(epoch, 10, 64); failed != nil {
		return Name{}, false
	}
	return n, n.String() == text
}

// nameSize is how many bytes of a key server's name its backups have.
const nameSize = 4

// OfServer is the part of a name that tells a key server's backups from
// others', by the eight bytes of its own name.
func OfServer(name []byte) string { return hex.EncodeToString(name[:nameSize]) }

// compare orders by epoch, then by time: the clock may have been ahead, and
// what it named so would be the newest for as long.
func (n Name) compare(m Name) int {
	return cmp.Or(cmp.Compare(n.Epoch, m.Epoch), n.At.Compare(m.At))
}

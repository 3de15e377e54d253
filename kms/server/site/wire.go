// Package site lets servers of a site go on when they cannot reach the
// center. A site's server holds copies of the machines of its site, and
// nothing else. While the center answers, it passes on what machines ask, and
// decides nothing; when the center does not answer, it gives the machines
// their keys by the copies, within bounds, and the center takes over what it
// noted of that when it is heard again.
package site

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
)

// Nodes are the machines, of one protocol.
type Nodes interface {
	Labels(v ledger.View, id kms.NodeID) (labels map[string]string, found bool, err error)
	EachLabels(v ledger.View, f func(kms.NodeID, map[string]string)) error
	Copy(v ledger.View, id kms.NodeID) (copied secret.Bytes, found bool, err error)
	TakeCopy(t *ledger.Txn, id kms.NodeID, copied secret.Bytes, keep bool) error
	DropCopy(t *ledger.Txn, id kms.NodeID) error
	Tally(v ledger.View, id kms.NodeID) (t lk1.Tally, found bool, err error)
	Count(t *ledger.Txn, tally lk1.Tally) error
}

// Bounds are what a site's server may give from one time that it heard of the
// center to the next.
type Bounds struct {
	Offline  policy.Duration `json:"offline"`  // for how long
	Releases int             `json:"releases"` // to one machine
	Machines int             `json:"machines"` // to how many of them
	InAll    int             `json:"in_all"`   // releases to all of them
}

// Paths of what a site's server asks the center, beside those of lk1.
const (
	joinPath = "/site/v1/join"
	syncPath = "/site/v1/sync"
)

// Bounds of messages, in bytes, and of what is in one.
const (
	maxJoin   = 4 << 10
	maxSync   = 4 << 20
	maxAnswer = 16 << 20
	maxLinks  = 24      // events: of one transaction of the center
	maxLink   = 8 << 10 // bytes of one event
	maxChange = 100     // copies, of one transaction of the site
)

// fromHeader is the address of the machine whose message is passed on.
const fromHeader = "Latchkey-From"

// A joining shows the token of a join file, once.
type joining struct {
	Name  string `json:"name"`
	Token string `json:"token"`
}

// A mark tells one copy from another: the first half of SHA-256. One over all
// of them tells whether there is anything new.
type mark [16]byte

// A link is an event of the site's chain of the audit log.
type link struct {
	Seq  uint64 `json:"seq"`
	Body []byte `json:"body"` // as the chain covers it
}

// A report is what a site's server says: how far its log goes, signed with
// its key, what the center does not have of it, and which copies it holds.
type report struct {
	End       ledger.ChainEnd     `json:"end"`
	Signature []byte              `json:"signature"`
	Links     []link              `json:"links,omitempty"`
	Tallies   []lk1.Tally         `json:"tallies,omitempty"` // of machines that the links name
	All       mark                `json:"all"`
	Have      map[kms.NodeID]mark `json:"have,omitempty"` // with Tell
	Tell      bool                `json:"tell,omitempty"` // answer at once, with what is new; else when there is something
}

// An answer is what the center says to that.
type answer struct {
	Removed bool            `json:"removed,omitempty"` // the site is none any more
	Bounds  Bounds          `json:"bounds"`
	Pins    []string        `json:"pins,omitempty"` // the center's
	Merged  ledger.ChainEnd `json:"merged"`         // how far the center has the site's log
	All     mark            `json:"all"`
	Gone    []kms.NodeID    `json:"gone,omitempty"`
	Changed []change        `json:"changed,omitempty"` // maxChange of them: ask again
}

// A change is a copy that is new.
type change struct {
	Node kms.NodeID `json:"node"`
	Mark mark       `json:"mark"`
	Copy []byte     `json:"copy"`
}

// signed is what a site's key signs of a log's end.
func signed(name string, end ledger.ChainEnd) []byte {
	b := append([]byte("latchkey/site-log"), byte(len(name)))
	b = binary.BigEndian.AppendUint64(append(b, name...), end.Seq)
	return append(b, end.Hash[:]...)
}

func sign(key ed25519.PrivateKey, name string, end ledger.ChainEnd) []byte {
	return ed25519.Sign(key, signed(name, end))
}

// A JoinFile makes a key server the server of a site. Its token is good once,
// until Expires.
type JoinFile struct {
	Site    string    `json:"site"`
	Center  []string  `json:"center"` // host:port
	KMS     []string  `json:"kms"`    // the center's public keys
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// Check says what is wrong with a join file.
func (f *JoinFile) Check(now time.Time) error {
	switch {
	case !named(f.Site), len(f.Center) == 0, len(f.KMS) == 0 || len(f.KMS) > kms.MaxPins, f.Token == "":
		return fmt.Errorf("reading the join file: it lacks the site's name, the center's address or keys, or the token; make one at the center: latchkey-kms site add NAME")
	case now.After(f.Expires):
		return fmt.Errorf("reading the join file: it expired on %s; make another at the center: latchkey-kms site add %s --again", f.Expires.UTC().Format(time.RFC3339), f.Site)
	}
	_, err := pinsOf(f.KMS)
	return err
}

func pinsOf(texts []string) (pins []kms.Pin, err error) {
	for _, text := range texts {
		p, err := kms.ParsePin(text)
		if err != nil {
			return nil, err
		}
		pins = append(pins, p)
	}
	return pins, nil
}

// named tells whether a site can have this name: it is in audit logs and URLs.
func named(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= 40
}

package lk1

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// A link lets somebody approve a machine that waits without a sign-in: who has
// it must also type the six words that the machine's console shows. It goes
// with a notice, for minutes and once, and is bound to what the machine
// showed. The key server keeps the link's hash.
const (
	linkLife  = 10 * time.Minute
	linkTries = 3   // wrong words; then the link is dead
	linkMost  = 100 // that are alive at once: strangers make them
)

// tableLinks is by SHA-256 of a link's secret, and has one row for each node
// that waits and had links, by its id.
var tableLinks = ledger.NewTable("links", ledger.Passing)

// linkRow is one link.
type linkRow struct {
	Node   kms.NodeID    `json:"node"`
	Seen   string        `json:"seen"`  // digest of what it showed
	Until  time.Duration `json:"until"` // on the ledger's clock
	Wrong  int           `json:"wrong"` // words that were typed and are none of its, with those of the links before it
	Holder Holder        `json:"holder"`
	Newest time.Time     `json:"newest,omitzero"` // of a node's own row: when the newest of its links was made
}

// A Holder is whom a link is sent to.
type Holder struct {
	Hook   string      `json:"hook"`             // for the audit log
	Number int         `json:"number,omitempty"` // among the hooks, of which several may have one name
	Person string      `json:"person,omitempty"` // admin.Identity of who reads it; empty: nobody knows
	Reach  admin.Reach `json:"reach,omitempty"`  // which machines it may approve
}

var (
	// ErrLink is a link that was used, is too old, or never was one: nobody is
	// told which.
	ErrLink = fmt.Errorf("this link is not good, or no longer: %w", ledger.ErrNotFound)
	// ErrWords are words that the machine's console does not show.
	ErrWords = fmt.Errorf("these are not the words of the machine that the link is for: %w", ledger.ErrRefused)
)

// NewLink makes a link for a node that waits for its first approval, and gives
// its secret; "" if the node does not, or there are too many, or wrong words
// were typed for it too often. The holder's link of before is over.
func (s *Service) NewLink(ctx context.Context, node string, h Holder) (link string, err error) {
	id, err := kms.ParseNodeID(node)
	if err != nil || s.bound != nil {
		return "", nil
	}
	text := secret.Random(32)
	defer text.Wipe()
	err = s.update(admin.Reaches(ctx, h.Reach), func(t *txn) error {
		link = ""
		row, err := t.known(id)
		if err != nil || row.State != fleet.Pending || !row.waits() || row.Shown == nil {
			return notThere(err)
		}
		n, wrong, err := t.forgetLinks(id, h)
		if err != nil || n >= linkMost || wrong >= linkTries {
			return err
		}
		link = base64.RawURLEncoding.EncodeToString(text.Reveal())
		if err := t.saveLink(linkKey(link), linkRow{Node: id, Seen: row.Shown.digest(), Until: s.ledger.Now() + linkLife, Wrong: wrong, Holder: h}); err != nil {
			return err
		}
		return t.saveLink(id[:], linkRow{Node: id, Newest: s.ledger.Wall()})
	})
	return link, err
}

// notThere takes what is not there for nothing.
func notThere(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	return err
}

func linkKey(link string) []byte {
	sum := sha256.Sum256([]byte(link))
	return sum[:]
}

func (t *txn) saveLink(key []byte, row linkRow) error {
	text, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return t.PutPassing(tableLinks, key, text)
}

func (v view) link(key []byte) (row linkRow, err error) {
	plain, found, err := v.Get(tableLinks, key)
	if err != nil {
		return row, err
	}
	if !found {
		return row, ErrLink
	}
	return row, json.Unmarshal(plain, &row)
}

// linked is the node of a link that counts, as it was when the link was made.
func (v view) linked(link string) (l linkRow, row nodeRow, err error) {
	if l, err = v.link(linkKey(link)); err != nil {
		return l, row, err
	}
	if v.s.ledger.Now() >= l.Until || l.Wrong >= linkTries {
		return l, row, ErrLink
	}
	row, found, err := v.theirs().Get(v.View, l.Node[:])
	if err == nil && (!found || row.State != fleet.Pending || !row.waits() || row.stillShows(l.Seen) != nil) {
		err = ErrLink
	}
	return l, row, err
}

// holderOf is the context of who holds a link.
func (s *Service) holderOf(ctx context.Context, link, from string) (context.Context, error) {
	var l linkRow
	err := s.read(func(v view) (err error) {
		l, err = v.link(linkKey(link))
		return err
	})
	if err != nil {
		return ctx, err
	}
	who := "link of " + l.Holder.Hook
	if l.Holder.Person != "" {
		who = fmt.Sprintf("link of %s to %.64q", l.Holder.Hook, l.Holder.Person)
	}
	return admin.As(ctx, admin.Person{Who: who + " at " + from, Is: l.Holder.Person, Scope: admin.ScopeApprove, Reach: l.Holder.Reach}), nil
}

// A LinkWord is what somebody says who has a link.
type LinkWord struct {
	Words string
	Shown string // LinkView.Shown of what they looked at
	From  string // their address
}

// ApproveByLink approves the machine of a link, if the words are right: once.
func (s *Service) ApproveByLink(ctx context.Context, link string, w LinkWord) (out Approved, err error) {
	if ctx, err = s.holderOf(ctx, link, w.From); err != nil {
		return out, err
	}
	rivals, err := s.rivals()
	if err != nil {
		return out, err
	}
	var l linkRow
	var wrong error
	err = s.update(ctx, func(t *txn) error {
		var row nodeRow
		out, wrong = Approved{}, nil
		if l, row, err = t.linked(link); err != nil {
			return err
		}
		if !sameWords(w.Words, l.Node) {
			wrong = ErrWords
			return t.wrongWords(ctx, link, l)
		}
		view, err := t.linkView(row)
		if err != nil {
			return err
		}
		if view.Shown != w.Shown {
			return fleet.Refuse("something has changed since you looked: look again")
		}
		t.nameless = l.Holder.Person == ""
		if err := t.Unmark(tableLinks, linkKey(link)); err != nil {
			return err
		}
		out, err = t.approve(ctx, l.Node, Approval{Who: l.Node.String(), Seen: l.Seen}, rivals)
		return err
	})
	if few, ok := errors.AsType[*tooFew](err); ok {
		return s.keepByLink(ctx, link, l.Node, few)
	}
	return out, errors.Join(err, wrong)
}

// keepByLink records what the holder of a link said, where others must say the
// same; the link is used up by it.
func (s *Service) keepByLink(ctx context.Context, link string, id kms.NodeID, few *tooFew) (Approved, error) {
	err := s.update(ctx, func(t *txn) error {
		if _, _, err := t.linked(link); err != nil {
			return err
		}
		if err := t.Unmark(tableLinks, linkKey(link)); err != nil {
			return err
		}
		if err := t.keepWord(id, few); err != nil {
			return err
		}
		return t.Note(few.event(id.String()))
	})
	return Approved{Node: Node{Needs: few.Error()}}, err
}

// sameWords compares what was typed with a node's words.
func sameWords(typed string, id kms.NodeID) bool {
	words := strings.Fields(strings.ToLower(strings.NewReplacer("-", " ", ",", " ").Replace(typed)))
	a, b := sha256.Sum256([]byte(strings.Join(words, " "))), sha256.Sum256([]byte(id.Words()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

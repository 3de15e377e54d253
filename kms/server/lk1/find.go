package lk1

import (
	"fmt"
	"strings"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// nameLabel is the label that is a node's name.
const nameLabel = "name"

// find finds the node that an operator means: by its six words or its whole
// id or, if none has those, by its name, the first of its words or at least
// eight of the id's first digits. Several are an error that lists them; a
// node that waits for approval, which anybody's may, is none of several where
// one has the name.
func (v view) find(who string) (nodeRow, error) {
	if id, err := parseID(who); err == nil {
		return v.known(id)
	}

	name := strings.TrimSpace(who)
	who = strings.ToLower(strings.Join(strings.FieldsFunc(who, func(r rune) bool { return r == ' ' || r == '-' || r == '\t' }), " "))
	if id, found := v.byWords(who); found {
		// To who does not see it there is none: an error that has its id told more.
		if yes, err := v.nodes()(id); yes || err != nil {
			return v.known(id)
		}
	}
	var named, near, waiting []nodeRow
	err := v.theirs().All(v.View, func(row nodeRow) error {
		switch words := row.ID.Words(); {
		case name != "" && strings.EqualFold(row.Labels[nameLabel], name):
			named = append(named, row)
		case words != who && !strings.HasPrefix(words, who+" ") && (len(who) < 8 || !strings.HasPrefix(row.ID.String(), who)):
		case row.State == fleet.Pending:
			waiting = append(waiting, row)
		default:
			near = append(near, row)
		}
		return nil
	})
	if err != nil {
		return nodeRow{}, err
	}
	near = append(near, named...)
	if len(named) == 0 {
		near = append(near, waiting...)
	}

	switch len(near) {
	case 0:
		return nodeRow{}, fmt.Errorf("looking for node %q: %w", name, ledger.ErrNotFound)
	case 1:
		return near[0], nil
	}
	return nodeRow{}, fmt.Errorf("looking for node %q: %w: %s", name, ledger.ErrAmbiguous, candidates(near))
}

// byWords finds the one node that has these six words. They are made of its
// id, and that is its key: no row is opened, so that a stolen machine is found
// among 100,000 while all of them ask.
func (v view) byWords(who string) (id kms.NodeID, found bool) {
	if strings.Count(who, " ") != wordsOfNode-1 {
		return id, false
	}
	several := false
	v.s.rows.fleet.Keys(v.View, func(key []byte) bool {
		if len(key) != len(id) || kms.NodeID(key).Words() != who {
			return true
		}
		several = found && id != kms.NodeID(key)
		id, found = kms.NodeID(key), true
		return !several
	})
	return id, found && !several
}

// wordsOfNode is how many words a node has.
const wordsOfNode = 6

// maxCandidates is how many nodes an error lists.
const maxCandidates = 8

// candidates lists nodes by their words, names and first digits.
func candidates(rows []nodeRow) string {
	var list []string
	for i, row := range rows {
		if i == maxCandidates {
			list = append(list, fmt.Sprintf("and %d more", len(rows)-i))
			break
		}
		about := row.ID.String()[:8]
		if name := row.Labels[nameLabel]; name != "" {
			about = name + ", " + about
		}
		list = append(list, fmt.Sprintf("%s (%s)", row.ID.Words(), about))
	}
	return strings.Join(list, "; ")
}

package lk1

import (
	"fmt"
	"strings"

	"latchkey/kms/ledger"
)

// nameLabel is the label that is a node's name.
const nameLabel = "name"

// find finds the node that an operator means: by its six words, its whole id
// or its name or, if none has those, by the first of its words or at least
// eight of the id's first digits. Several are an error that lists them.
func (v view) find(who string) (nodeRow, error) {
	if id, err := parseID(who); err == nil {
		return v.known(id)
	}

	name := strings.TrimSpace(who)
	who = strings.ToLower(strings.Join(strings.FieldsFunc(who, func(r rune) bool { return r == ' ' || r == '-' || r == '\t' }), " "))
	var exact, near []nodeRow
	err := v.s.rows.fleet.All(v.View, func(row nodeRow) error {
		switch words := row.ID.Words(); {
		case words == who, name != "" && strings.EqualFold(row.Labels[nameLabel], name):
			exact = append(exact, row)
		case strings.HasPrefix(words, who+" "), len(who) >= 8 && strings.HasPrefix(row.ID.String(), who):
			near = append(near, row)
		}
		return nil
	})
	if err != nil {
		return nodeRow{}, err
	}
	if len(exact) > 0 {
		near = exact
	}

	switch len(near) {
	case 0:
		return nodeRow{}, fmt.Errorf("looking for node %q: %w", name, ledger.ErrNotFound)
	case 1:
		return near[0], nil
	}
	return nodeRow{}, fmt.Errorf("looking for node %q: %w: %s", name, ledger.ErrAmbiguous, candidates(near))
}

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

package lk1

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// A NodeSet changes what an operator set for one node.
type NodeSet struct {
	Settings policy.Settings   `json:"settings,omitzero"` // those that are given replace the node's own
	Labels   map[string]string `json:"labels,omitempty"`  // an empty value removes the label
	Clear    []string          `json:"clear,omitempty"`   // settings to forget, so that the configuration's hold
}

// maxLabels bounds the labels of one node.
const maxLabels = 32

// SetNode changes a node's own settings and labels. Where several people must
// approve, they must want this, too: it could do what approving does.
func (s *Service) SetNode(ctx context.Context, who string, set NodeSet) (Node, error) {
	if err := s.rules.Load().Check(set.Settings); err != nil {
		return Node{}, fmt.Errorf("setting: %w", err)
	}
	if set.Settings.Approvals != nil { // one person could take it back again
		return Node{}, fmt.Errorf("setting: approvals is for the configuration: policy.defaults, or the settings of a group")
	}
	for key, value := range set.Labels {
		if _, _, err := policy.ParseLabel(key + "=" + value); err != nil {
			return Node{}, fmt.Errorf("setting: %w", err)
		}
	}

	if _, err := (policy.Settings{}).Without(set.Clear); err != nil {
		return Node{}, err
	}
	detail, err := json.Marshal(set)
	if err != nil {
		return Node{}, fmt.Errorf("setting: %w", err)
	}
	return s.decideNode(ctx, who, "set", string(detail), func(_ *txn, row *nodeRow) (string, error) {
		kept, err := row.Settings.Without(set.Clear)
		if err != nil {
			return "", err
		}
		row.Settings = set.Settings.Over(kept)
		if set.Settings.Role == policy.RoleInstall {
			row.Booted = false
		}

		labels := maps.Clone(row.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, set.Labels)
		maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
		if len(labels) > maxLabels {
			return "", fleet.Refuse(fmt.Sprintf("more than %d labels", maxLabels))
		}

		row.Labels = labels
		return whatOf(string(detail)), nil
	})
}

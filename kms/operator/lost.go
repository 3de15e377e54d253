package operator

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/ledger"
)

// Lost is what the audit log has and a backup has not.
type Lost struct {
	Decisions []ledger.Event `json:"decisions"` // oldest first
	Others    int            `json:"others"`    // what machines did by themselves
}

// routine are events of what machines and servers do by themselves: after a
// restore they do it again.
var routine = []string{
	"get", "kairos get", "talos unseal", "k8s encrypt", "k8s decrypt", "tang recover", "tang unknown", "push given", "push void",
	"asks", "known", "silent", "next", "boot-log", "strangers", "sign in", "admin", "start", "server end", "audit remove",
}

// aBit is how far the clocks of servers may be apart.
const aBit = 5 * time.Minute

// Lost asks for what happened after the last event of a backup, and is not in
// that.
func (c *Client) Lost(ctx context.Context, until time.Time, has func(ledger.Event) (bool, error)) (l Lost, err error) {
	l.Decisions = []ledger.Event{}
	query := url.Values{"since": {until.Add(-aBit).UTC().Format(time.RFC3339)}}
	for {
		var page admin.Found
		if err := c.Call(ctx, "GET", "/v1/audit/search", query, nil, &page); err != nil {
			return l, err
		}
		for _, e := range page.Events {
			there, err := has(e)
			switch {
			case err != nil:
				return l, err
			case there:
			case slices.Contains(routine, e.Event):
				l.Others++
			default:
				l.Decisions = append(l.Decisions, e)
			}
		}
		if page.Next == 0 {
			slices.Reverse(l.Decisions)
			return l, nil
		}
		query.Set("before", strconv.FormatUint(page.Next, 10))
	}
}

package operator

import (
	"context"
	"net/url"
	"slices"
	"strconv"

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
	"recovery proven", "recovery replaced", "asks", "known", "silent", "next", "boot-log", "strangers", "sign in", "admin", "start", "server end", "audit remove",
}

// aBit is how many numbers servers that share a store may be apart.
const aBit = 1000

// Lost asks for what the audit log has after the last event of a backup, by its
// number, and the backup has not. Times say nothing: a clock may have been
// ahead.
func (c *Client) Lost(ctx context.Context, last uint64, has func(ledger.Event) (bool, error)) (l Lost, err error) {
	l.Decisions = []ledger.Event{}
	for from := max(last, aBit+1) - aBit; ; {
		var events []ledger.Event
		query := url.Values{"from": {strconv.FormatUint(from, 10)}}
		if err := c.Call(ctx, "GET", "/v1/audit", query, nil, &events); err != nil || len(events) == 0 {
			return l, err
		}
		from = events[len(events)-1].Seq + 1
		for _, e := range events {
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
	}
}

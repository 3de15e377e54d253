package main

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// auditFilter says which events are wanted.
type auditFilter struct {
	from                             uint64
	since, until, event, node, actor string
	after, before                    time.Time // of since and until
}

func (f *auditFilter) add(flags *pflag.FlagSet) {
	flags.Uint64Var(&f.from, "from", 1, "number of the first event")
	flags.StringVar(&f.since, "since", "", "only events since then: 24h, 90d, or 2026-11-22T06:00:00Z")
	flags.StringVar(&f.until, "until", "", "only events before then, as --since")
	flags.StringVar(&f.event, "event", "", "only events of this name: get, approve, quarantine")
	flags.StringVar(&f.node, "node", "", "only events of the machine whose id, TPMHash or UUID begins so")
	flags.StringVar(&f.actor, "actor", "", "only events of who has this in the name or address: token ci, 192.0.2.7")
}

// parse reads --since and --until: a time, or a time ago.
func (f *auditFilter) parse(now time.Time) error {
	for _, one := range []struct {
		name, text string
		to         *time.Time
	}{{"--since", f.since, &f.after}, {"--until", f.until, &f.before}} {
		if one.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, one.text)
		if err != nil {
			ago, bad := policy.ParseDuration(one.text)
			if bad != nil {
				return cli.Usagef("%s %q: want a time ago, as 24h or 90d, or a time, as 2026-11-22T06:00:00Z", one.name, one.text)
			}
			at = now.Add(-time.Duration(ago))
		}
		*one.to = at
	}
	return nil
}

func (f *auditFilter) matches(e ledger.Event) bool {
	return !e.Time.Before(f.after) && (f.before.IsZero() || e.Time.Before(f.before)) &&
		(f.event == "" || e.Event == f.event) && strings.HasPrefix(e.Node, f.node) && strings.Contains(e.From, f.actor)
}

// each gives the events that match, oldest first, a page at a time.
func (f *auditFilter) each(ctx context.Context, ask *asker, page func([]ledger.Event) error) error {
	if err := f.parse(time.Now()); err != nil {
		return err
	}
	c, err := ask.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for next := f.from; ; {
		var events []ledger.Event
		if err := c.Call(ctx, "GET", "/v1/audit", url.Values{"from": {strconv.FormatUint(next, 10)}}, nil, &events); err != nil || len(events) == 0 {
			return err
		}
		next = events[len(events)-1].Seq + 1
		if err := page(slices.DeleteFunc(events, func(e ledger.Event) bool { return !f.matches(e) })); err != nil {
			return err
		}
	}
}

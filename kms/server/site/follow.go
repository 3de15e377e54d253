package site

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// A wire is how it stands with the center.
type wire int

const (
	wireBack wire = iota + 1 // it may answer; what is here is not current
	wireUp                   // it has said all that is new, and heard all
	wireCut                  // it does not answer
)

func (w wire) String() string { return [...]string{"", "back", "up", "cut"}[w] }

// A Follower is the server of a site: it follows the center, passes on what
// machines ask, and decides when it is cut off.
type Follower struct {
	ledger *ledger.Ledger
	nodes  Nodes
	log    *slog.Logger
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	age    age

	mu     sync.Mutex
	wire   wire
	client *http.Client
	known  string           // the pins that client knows
	center int              // which of its addresses answered last
	merged *ledger.ChainEnd // how far the center has our log; nil: it has not said
	wrote  time.Time        // when it was written down how it stands
	said   string           // the last failure, for the log
}

// Dial connects to the center; nil is net.Dialer.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// NewFollower makes a follower of a ledger that Become was called for.
func NewFollower(l *ledger.Ledger, n Nodes, dial Dial, log *slog.Logger) *Follower {
	return &Follower{ledger: l, nodes: n, log: log, dial: dial, wire: wireBack}
}

// Times of following.
const (
	answerWait = 3 * time.Second      // for an answer that waits for nothing
	relayWait  = 3 * time.Second      // for the center's answer to a machine
	retryAfter = time.Second          // of a try that failed, the first time
	retryMost  = 15 * time.Second     // and at most
	markEvery  = 5 * time.Minute      // it is written down how long the wire is cut
	heardWrite = time.Minute          // and that it is not
	holdWait   = holdFor + answerWait // for one that waits for news
)

// Errors of following.
var (
	errGone    = errors.New("the center has no such site: this server's copies are destroyed")
	errRefused = errors.New("the center refuses this server")
)

// Follow follows the center until ctx ends.
func (f *Follower) Follow(ctx context.Context) {
	pause := retryAfter
	for ctx.Err() == nil {
		err := f.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			pause = retryAfter
			continue
		}
		f.failed(ctx, err)
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		pause = min(2*pause, retryMost)
	}
}

// round asks the center once: what is told of the log, and what is new.
func (f *Follower) round(ctx context.Context) error {
	self, said, err := f.prepare()
	if err != nil {
		return err
	}
	if self.Removed {
		return errGone
	}
	if self.Token != "" {
		if err := f.join(ctx, self); err != nil {
			return err
		}
	}
	a, err := f.ask(ctx, self, said)
	if errors.Is(err, errGone) || err == nil && a.Removed {
		return f.wipe(ctx)
	}
	if err != nil {
		return err
	}
	f.answered()
	return f.take(ctx, self, said, a)
}

// prepare is what is said next.
func (f *Follower) prepare() (self Self, said *report, err error) {
	said = &report{}
	err = f.ledger.Read(func(v ledger.View) (err error) {
		if self, _, err = SelfOf(v); err != nil {
			return err
		}
		if said.End, err = v.ChainEnd(); err != nil {
			return err
		}
		have, err := haves(v)
		said.All = markAll(have)
		f.mu.Lock()
		said.Tell = f.wire != wireUp
		f.mu.Unlock()
		if said.Tell {
			said.Have = have
		}
		return err
	})
	said.Signature = sign(f.ledger.Signing()[0], self.Name, said.End)
	return self, said, err
}

// ask sends what is said, with what the center has not heard of the log.
func (f *Follower) ask(ctx context.Context, self Self, said *report) (a answer, err error) {
	f.mu.Lock()
	merged := f.merged
	f.mu.Unlock()
	if merged != nil {
		if err := f.addLinks(said, *merged); err != nil {
			return a, err
		}
	}
	wait := answerWait
	if !said.Tell {
		wait = holdWait
	}
	body, err := json.Marshal(said)
	if err != nil {
		return a, err
	}
	reply, err := f.post(ctx, self, syncPath, body, wait, maxAnswer)
	if err != nil {
		return a, err
	}
	defer clear(reply)
	err = json.Unmarshal(reply, &a)
	return a, err
}

// addLinks adds the events behind what the center has, and the tallies of
// the machines that they name.
func (f *Follower) addLinks(said *report, merged ledger.ChainEnd) error {
	return f.ledger.Read(func(v ledger.View) error {
		named := map[kms.NodeID]bool{}
		err := v.Links(merged.Seq, func(seq uint64, body []byte) bool {
			if seq > said.End.Seq || len(said.Links) == maxLinks {
				return false
			}
			said.Links = append(said.Links, link{seq, body})
			var e ledger.Event
			if json.Unmarshal(body, &e) == nil {
				if id, err := kms.ParseNodeID(e.Node); err == nil {
					named[id] = true
				}
			}
			return true
		})
		for id := range named {
			tally, found, failed := f.nodes.Tally(v, id)
			if err = cmpErr(err, failed); err == nil && found {
				said.Tallies = append(said.Tallies, tally)
			}
		}
		return err
	})
}

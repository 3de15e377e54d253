package site

import (
	"bytes"
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"sync"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// A roster knows which machines are of which site, and what a copy of each
// would be now, by its mark.
type roster struct {
	mu      sync.Mutex
	sites   map[string]map[kms.NodeID]mark
	changed chan struct{} // closed when something is new
}

// markOf tells a copy from another.
func markOf(copied []byte) mark {
	sum := sha256.Sum256(copied)
	return mark(sum[:16])
}

// markAll is over all copies of a site.
func markAll(have map[kms.NodeID]mark) mark {
	h := sha256.New()
	for _, id := range slices.SortedFunc(maps.Keys(have), func(a, b kms.NodeID) int { return bytes.Compare(a[:], b[:]) }) {
		m := have[id]
		h.Write(id[:])
		h.Write(m[:])
	}
	return mark(h.Sum(nil)[:16])
}

// of are the marks of a site's machines, and what is closed when they, or
// anything else that a site's server is told, may have changed.
func (r *roster) of(name string) (map[kms.NodeID]mark, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.sites[name]), r.changed
}

// set puts what was read of a site in the place of what there is.
func (r *roster) set(name string, now map[kms.NodeID]mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sites[name] = maps.Clone(now); now == nil {
		delete(r.sites, name)
	}
}

// tell wakes who waits.
func (r *roster) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Times of looking through all machines.
const (
	lookEvery = 30 * time.Second // what no event tells of: the configuration, a clock
	lookAfter = time.Second      // at most so often, for events that name no machine
)

// Follow keeps the roster, until ctx ends.
func (c *Center) Follow(ctx context.Context) {
	events, stop := c.ledger.ListenAll()
	defer stop()
	c.look()
	due := time.NewTimer(lookEvery)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			c.look()
			due.Reset(lookEvery)
		case e := <-events.Events:
			id, err := kms.ParseNodeID(e.Node)
			if err != nil || events.Missed() {
				due.Reset(lookAfter)
				continue
			}
			c.lookAt(id)
		}
	}
}

// look looks through all machines.
func (c *Center) look() {
	c.looking.Lock()
	defer c.looking.Unlock()
	sites := map[string]map[kms.NodeID]mark{}
	err := c.ledger.Read(func(v ledger.View) error {
		kept, err := all(v)
		if err != nil || len(kept) == 0 {
			return err
		}
		var failed error
		err = c.nodes.EachLabels(v, func(id kms.NodeID, labels map[string]string) {
			for i := range kept {
				if failed == nil && !kept[i].Removed && kept[i].of(labels) {
					failed = c.place(v, sites, &kept[i], id)
				}
			}
		})
		return cmpErr(err, failed)
	})
	if err != nil {
		c.log.Error("looking through the machines of sites", "err", err)
		return
	}
	c.roster.mu.Lock()
	defer c.roster.mu.Unlock()
	c.roster.sites = sites
	c.roster.tell()
}

func (c *Center) place(v ledger.View, sites map[string]map[kms.NodeID]mark, s *Site, id kms.NodeID) error {
	copied, found, err := c.nodes.Copy(v, id)
	defer copied.Wipe()
	if err != nil || !found {
		return err
	}
	if sites[s.Name] == nil {
		sites[s.Name] = map[kms.NodeID]mark{}
	}
	sites[s.Name][id] = markOf(copied.Reveal())
	return nil
}

// lookAt looks at one machine, of which something was noted.
func (c *Center) lookAt(id kms.NodeID) {
	c.looking.Lock()
	defer c.looking.Unlock()
	now := map[string]map[kms.NodeID]mark{}
	err := c.ledger.Read(func(v ledger.View) error {
		labels, found, err := c.nodes.Labels(v, id)
		if err != nil || !found {
			return err
		}
		kept, err := all(v)
		for i := range kept {
			if err == nil && !kept[i].Removed && kept[i].of(labels) {
				err = c.place(v, now, &kept[i], id)
			}
		}
		return err
	})
	if err != nil {
		c.log.Error("looking at a machine of a site", "node", id, "err", err)
		return
	}

	r := &c.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	news := false
	for name, here := range r.sites {
		if before, was := here[id]; was && now[name] == nil {
			delete(here, id)
			news = true
		} else if m, is := now[name][id]; is && m != before {
			here[id], news = m, true
		}
		delete(now, name)
	}
	for name, here := range now {
		r.sites[name], news = here, true
	}
	if news {
		r.tell()
	}
}

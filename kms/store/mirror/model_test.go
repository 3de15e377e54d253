package mirror_test

import (
	"testing"
	"time"
)

// A plan is one way to write from several servers to one service.
type plan int

const (
	oneHead   plan = iota + 1 // every transaction compares and moves one key
	ownHeads                  // it compares what it read, and moves its server's key
	oneWriter                 // the others forward to the one that has the lease
)

// A modeled is what the model counts with. Times are those measured on one
// core: an exchange, its part in the transaction, what the service takes.
type modeled struct {
	plan       plan
	servers    int
	trip       time.Duration // to the service
	check, run time.Duration // processor time of a release: outside of, and in the transaction
	serve      time.Duration // of the service, for each transaction
	group      int           // releases that one transaction carries
}

// A modelServer is one server in the model. Times are since the start.
type modelServer struct {
	began   time.Duration // the transaction under way
	base    int           // the version that it read
	jobs    int           // in its transaction
	arrives time.Duration // at the service
	core    time.Duration // when its core is free
}

// releases is how many there are in a second.
func (m modeled) releases() int {
	const long = 20 * time.Second
	servers := make([]modelServer, m.servers)
	version, free, done := 0, time.Duration(0), 0
	versions := []time.Duration{0} // when each version was made
	seen := func(at time.Duration) (v int) {
		for v = version; v > 0 && versions[v]+m.trip/2 > at; v-- {
		}
		return v
	}
	begin := func(s *modelServer, at time.Duration, again bool) {
		if !again {
			writes := m.plan != oneWriter || s == &servers[0]
			ready := int((at - s.core) / m.check) // checked meanwhile, on its own core
			if m.plan == oneWriter {
				ready *= m.servers
			}
			s.jobs = min(max(ready, 1), m.group)
			s.core = max(s.core, at-time.Duration(m.group)*m.check) + time.Duration(s.jobs)*m.check/time.Duration(m.share())
			if !writes {
				s.arrives = long * 2
				return
			}
		}
		at = max(at, s.core)
		s.core = at + time.Duration(s.jobs)*m.run
		s.began, s.base, s.arrives = at, seen(at), s.core+m.trip/2
	}
	for i := range servers {
		begin(&servers[i], time.Duration(i)*m.trip/time.Duration(m.servers), false)
	}
	for {
		s := &servers[0]
		for i := range servers {
			if servers[i].arrives < s.arrives {
				s = &servers[i]
			}
		}
		if s.arrives >= long {
			return done / int(long/time.Second)
		}
		free = max(free, s.arrives) + m.serve
		if m.plan == oneHead && s.base != version {
			begin(s, free+m.trip/2, true)
			continue
		}
		version++
		versions = append(versions, free)
		done += s.jobs
		begin(s, free+m.trip/2, false)
	}
}

// share is over how many cores the checks of a transaction's releases are.
func (m modeled) share() int {
	if m.plan == oneWriter {
		return m.servers
	}
	return 1
}

// The model by which docs/decisions/0064 was chosen: with one head more
// servers do no more; with heads of their own they do as much more as there
// are cores; with one writer they do, too, until its core is full.
func TestModelOfCommits(t *testing.T) {
	do := func(p plan, servers int, trip time.Duration) int {
		m := modeled{plan: p, servers: servers, trip: trip, check: 700 * time.Microsecond, run: 100 * time.Microsecond, serve: time.Millisecond, group: 18}
		if p != ownHeads {
			m.group = 40 // nothing is compared but the head
		}
		return m.releases()
	}
	for _, trip := range []time.Duration{500 * time.Microsecond, 2 * time.Millisecond, 10 * time.Millisecond} {
		t.Logf("round trip %v: one head %d, %d, %d; own heads %d, %d, %d; one writer %d, %d, %d", trip,
			do(oneHead, 1, trip), do(oneHead, 2, trip), do(oneHead, 3, trip),
			do(ownHeads, 1, trip), do(ownHeads, 2, trip), do(ownHeads, 3, trip),
			do(oneWriter, 1, trip), do(oneWriter, 2, trip), do(oneWriter, 3, trip))
		if one, three := do(oneHead, 1, trip), do(oneHead, 3, trip); three > 2*one {
			t.Errorf("round trip %v: with one head, three servers do %d and one does %d: there was nothing to decide", trip, three, one)
		}
		if one, three := do(ownHeads, 1, trip), do(ownHeads, 3, trip); 2*three < 5*one {
			t.Errorf("round trip %v: with heads of their own, three servers do %d and one does %d, want 2.5 times as much", trip, three, one)
		}
	}
}

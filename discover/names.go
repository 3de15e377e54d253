package discover

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/discover/dns"
)

// Renaming slows down after quickConflicts, so that a machine that
// objects to every name does not make a storm: RFC 6762, section 8.1.
const (
	quickConflicts = 15
	slowConflict   = 5 * time.Second
)

// A name that was lost is tried again, in case the other machine has gone:
// machines ask for the name that their plan has, and for no other.
const (
	firstReclaim = 10 * time.Minute
	lastReclaim  = 4 * time.Hour
)

// names are how announcements are called on the LAN.
type names struct {
	hosts     map[string]string // as asked for → as it is
	instances map[instanceKey]string
	common    map[dns.Name]bool // hosts that other key servers answer for, too
	conflicts int
	next      time.Time // when a new name is tried, if there are many conflicts
	reclaim   *time.Timer
	wait      time.Duration // until the next reclaim
}

type instanceKey struct{ host, instance string }

func newNames() names {
	return names{hosts: map[string]string{}, instances: map[instanceKey]string{}, common: map[dns.Name]bool{}, wait: firstReclaim}
}

// apply returns the announcements under their names of now.
func (n names) apply(all []Announcement) []Announcement {
	out := slices.Clone(all)
	for i, a := range out {
		if other, ok := n.instances[instanceKey{a.Host, a.Instance}]; ok {
			out[i].Instance = other
		}
		if other, ok := n.hosts[a.Host]; ok {
			out[i].Host = other
		}
	}
	return out
}

// conflict gives the announcements with a name another one: RFC 6762,
// section 9. It does nothing if the name has been changed meanwhile.
func (r *Responder) conflict(name dns.Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	for i, a := range r.names.apply(r.all) {
		asked := r.all[i]
		switch label, service := name.Cut(); {
		case name.Equal(dns.Name(a.Host)):
			r.names.hosts[asked.Host] = nextHost(a.Host)
			changed = true
		case dns.Name(label).Equal(dns.Name(a.Instance)) && slices.ContainsFunc(a.Services, func(s string) bool { n, _ := serviceName(s); return n.Equal(service) }):
			r.names.instances[instanceKey{asked.Host, asked.Instance}] = nextInstance(a.Instance)
			changed = true
		}
	}
	if !changed {
		return
	}

	r.log.Warn("another machine has this name; using another one and trying again later", "name", string(name), "again_in", r.names.wait)
	r.names.conflicts++
	r.version++
	if r.names.reclaim == nil {
		r.names.reclaim = time.AfterFunc(r.names.wait, r.reclaim)
	}
	switch now := time.Now(); {
	case r.names.conflicts <= quickConflicts:
		r.poke()
	case now.After(r.names.next):
		r.names.next = now.Add(slowConflict)
		time.AfterFunc(slowConflict, r.poke)
	}
}

// reclaim goes back to the names that were asked for. They are probed for
// as new ones are, so a machine that still has one keeps it.
func (r *Responder) reclaim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.names.hosts)
	clear(r.names.instances)
	r.names.reclaim = nil
	r.names.wait = min(2*r.names.wait, lastReclaim)
	r.version++
	r.poke()
}

// share takes note that another key server answers for a host name of
// ours, so that the addresses of both are a shared record set: RFC 6762,
// section 2. It tells whether that is news.
func (r *Responder) share(host dns.Name) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names.common[host.Key()] {
		return false
	}
	r.names.common[host.Key()] = true
	r.version++
	r.log.Info("another key server answers for this name, too; sharing it", "name", string(host))
	r.poke()
	return true
}

// nextHost makes kms-2.local of kms.local, and kms-3.local of that.
func nextHost(host string) string {
	first, rest, _ := strings.Cut(host, ".")
	base, n := counted(first, "-", "")
	return fmt.Sprintf("%s-%d.%s", base[:min(len(base), 58)], n+1, rest)
}

// nextInstance makes "kms (2)" of "kms": RFC 6763, appendix D.
func nextInstance(label string) string {
	base, n := counted(label, " (", ")")
	return fmt.Sprintf("%s (%d)", base[:min(len(base), 56)], n+1)
}

// counted takes a number off the end of a name; without one it is 1.
func counted(name, before, after string) (string, int) {
	rest, ok := strings.CutSuffix(name, after)
	i := strings.LastIndex(rest, before)
	if !ok || i <= 0 {
		return name, 1
	}
	n, err := strconv.Atoi(rest[i+len(before):])
	if err != nil || n < 2 || n > 9999 {
		return name, 1
	}
	return name[:i], n
}

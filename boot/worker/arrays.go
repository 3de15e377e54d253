package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/unlock/md"
	"latchkey/unlock/md/control"
)

// A degraded array waits so much longer than the plan says while drivers
// load or a device has not answered: its member may be there.
const degradedPatience = 30 * time.Second

// arrayWait is how long the kernel may take to run an array.
const arrayWait = 30 * time.Second

// arrays are those of md that the disks form. One that is whole runs at once;
// one that lacks members runs when the boot misses a volume and the plan's
// wait is over.
type arrays struct {
	worker *worker

	mu    sync.Mutex
	there []*md.Array        // that do not run, as the last look saw them
	used  []md.Member        // members of those that run, which are not in them
	since map[string]arrived // by UUID
	tried map[string]int     // by UUID: with how many members the kernel refused
	said  map[string]bool
	// failed is why the kernel runs an array not, by UUID.
	failed map[string]error
}

// arrived is since when an array has had so many members.
type arrived struct {
	members int
	at      time.Time
}

func (w *worker) newArrays() *arrays {
	return &arrays{worker: w, since: map[string]arrived{}, tried: map[string]int{}, said: map[string]bool{}, failed: map[string]error{}}
}

// tell tells people something once in a boot.
func (a *arrays) tell(err error) {
	a.mu.Lock()
	known := a.said[err.Error()]
	a.said[err.Error()] = true
	a.mu.Unlock()
	if !known {
		a.worker.waiting(err)
	}
}

// see notes the arrays that the devices of one look form, and says why those
// that do not run do not.
func (a *arrays) see(probes []probed) (seen []string) {
	var members []*md.Member
	running := map[string]string{} // by UUID
	for _, p := range probes {
		if p.member != nil && p.member.UUID != "" && p.block.Array != "" {
			running[p.member.UUID] = p.block.Array
		}
	}
	for _, p := range probes {
		switch m := p.member; {
		case m == nil || p.damage != nil || p.block.Array != "":
		case running[m.UUID] != "":
			a.tellLate(m, running[m.UUID])
		default:
			members = append(members, m)
		}
	}

	all := md.Arrays(members)
	for _, array := range all {
		err := array.Problem
		if err == nil {
			err = array.Enough()
		}
		if err == nil {
			a.mu.Lock()
			err = a.failed[array.UUID]
			a.mu.Unlock()
		}
		if err != nil {
			seen = append(seen, err.Error())
		}
		switch {
		case errors.Is(array.Problem, md.ErrUnsupported):
			a.tell(codes.Fail("md-unsupported", "%w", array.Problem))
		case array.Problem != nil:
			a.tell(codes.Fail("md-conflict", "%w", array.Problem))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.there = all
	return seen
}

// tellLate names a member that an array runs without, unless that is known
// because the member is out of date.
func (a *arrays) tellLate(m *md.Member, array string) {
	a.mu.Lock()
	known := slices.ContainsFunc(a.used, func(u md.Member) bool { return u.UUID == m.UUID && u.Number == m.Number })
	a.mu.Unlock()
	if !known {
		a.tell(codes.Fail("md-left-out", "%s came when %s already ran without it: the running system's mdadm takes it back", m, array))
	}
}

// run has the kernel run every array whose time has come. missing tells
// whether the boot lacks a volume, which an array may hold. Something may have
// changed if any was begun; else next is when the next one's time comes, 0 for
// never.
func (a *arrays) run(ctx context.Context, missing, quiet bool) (begun bool, next time.Duration) {
	a.mu.Lock()
	all := a.there
	a.mu.Unlock()
	for _, array := range all {
		if array.Problem != nil || array.Enough() != nil || a.tried[array.UUID] == len(array.Members) {
			continue
		}
		wait, ever := a.wait(array, missing, quiet)
		switch {
		case !ever:
		case wait <= 0:
			begun = a.start(ctx, array, missing) || begun
		case next == 0 || wait < next:
			next = wait
		}
	}
	return begun, next
}

// wait is how long an array that can run is still waited for.
func (a *arrays) wait(array *md.Array, missing, quiet bool) (wait time.Duration, ever bool) {
	p, wanted := a.worker.plan, a.worker.plan.Arrays.Wants(array.UUID)
	if wanted && array.Whole() {
		return 0, true
	}
	since := a.since[array.UUID]
	if since.members != len(array.Members) {
		since = arrived{len(array.Members), time.Now()}
		a.since[array.UUID] = since
	}
	switch {
	case !missing:
		return 0, false
	case !array.Whole() && p.Degraded < 0:
		a.tell(codes.Fail("md-degraded", "%s is not run: degraded is never in the plan, and it lacks members", array))
		return 0, false
	case !array.Whole():
		wait = p.Degraded
	}
	if !wanted {
		wait = max(wait, quietWait)
	}
	if !quiet {
		wait += degradedPatience
	}
	return time.Until(since.at.Add(wait)), true
}

// start has the kernel run an array, as a step, and says what it lacks. It
// does nothing if a member is gone again. That the kernel refuses an array is
// told if the boot misses a volume.
func (a *arrays) start(ctx context.Context, array *md.Array, missing bool) bool {
	w, n := a.worker, array.Newest
	start := control.Start{Number: array.Number(), Version: n.Version}
	for _, m := range array.Members {
		number, ok := w.sys.Number(m.Device)
		if !ok {
			return false
		}
		start.Members = append(start.Members, control.Device(number))
	}

	a.tried[array.UUID] = len(array.Members)
	if !w.plan.Arrays.Wants(array.UUID) {
		a.tell(codes.Fail("md-unwanted", "the command line does not want %s, and a volume is missing: it is run all the same", array))
	}
	_, err := step(ctx, w, "array", arrayWait, func(context.Context) (struct{}, string, error) {
		w.loader.Named("md_mod", md.Module(n.Level))
		if err := w.sys.RunArray(start, n.Name); err != nil {
			return struct{}{}, "", codes.Fail("md-failed", "%s: %w", array, err)
		}
		return struct{}{}, strings.ReplaceAll(array.String(), " ", "_"), nil
	})
	if err != nil {
		a.mu.Lock()
		a.failed[array.UUID] = err
		a.mu.Unlock()
		if missing {
			a.tell(err)
		}
		return true
	}
	if line := array.Degraded(); line != "" {
		a.tell(codes.Fail("md-degraded", "%s", line))
	}
	for _, line := range array.LeftOut() {
		a.tell(codes.Fail("md-left-out", "%s", line))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range array.Old {
		a.used = append(a.used, *m)
	}
	return true
}

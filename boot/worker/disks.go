package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock"
)

// A disk is one volume of the plan, found and judged.
type disk struct {
	unlock.Volume
	planned plan.Volume
	block   device.Block
	paths   []device.Block // ways to it, block is the first
	header  []byte         // if it is not on the device
}

// settle is how long no further block device may appear before what was
// found counts: the clone of a volume is often on the same controller. The
// network takes longer in any case.
const settle = 30 * time.Millisecond

// quietWait is how long nothing may have been heard of a block device, with
// all drivers loaded, before people are told that a disk is missing: on a
// slow machine disks come late, and one after the other.
const quietWait = 5 * time.Second

// optionalWait is how long a volume with nofail is waited for when the
// others are there and drivers still load, or some device has not answered
// yet: a disk that spins up takes a few seconds.
const optionalWait = 5 * time.Second

// loadingWait takes its place while drivers load: the one of its controller
// may be among them, and the other disks had theirs first.
const loadingWait = 15 * time.Second

// findAll finds the disks, as a step. Its deadline is the plan's wait for
// devices, with time to report it.
func (w *worker) findAll(ctx context.Context) ([]*disk, error) {
	deadline := time.Duration(0)
	if w.plan.Wait > 0 {
		deadline = w.plan.Wait + 10*time.Second
	}
	disks, err := step(ctx, w, "disks", deadline, func(ctx context.Context) ([]*disk, string, error) {
		d, err := w.findDisks(ctx)
		return d, fmt.Sprintf("found=%d", len(d)), err
	})
	if err == nil {
		w.joinPaths(ctx, disks)
		close(w.found)
	}
	return disks, err
}

// findDisks waits until every volume of the plan has been found, looking
// again whenever a block device comes or changes. A volume with nofail is
// waited for as long as the others take, or for a while longer; if all
// have it, as long as the plan waits for a member of an array, too.
func (w *worker) findDisks(ctx context.Context) ([]*disk, error) {
	whole := ctx // a look that began is not cut short by the end of the wait
	ctx, cancel := w.limited(ctx)
	defer cancel()
	quiet := time.NewTimer(quietWait) // then people may know that we wait
	defer quiet.Stop()
	again := time.NewTicker(2 * time.Second) // a device that answers with an error sends no event when it recovers
	defer again.Stop()
	w.search = w.newSearch()
	loading := w.drivers
	var patience <-chan time.Time // with volumes that have nofail
	for {
		found := w.search.look(whole)
		missing := found.required(w.plan.Degraded >= 0)
		begun, next := w.search.run(whole, missing != nil || found.optional())
		if begun {
			continue // an array is a disk like any other
		}
		if missing != nil && codes.Of(missing) != "volume-missing" {
			return nil, missing
		}

		var settled <-chan time.Time
		switch {
		case missing != nil:
		case found.optional() && (w.plan.Spread() || w.search.busy() || !w.driversLoaded()):
			if patience == nil {
				patience = time.After(w.patience())
			}
			settled = patience
		default:
			settled = time.After(settle)
		}

		select {
		case <-settled:
			w.leaveOut(found)
			return found.disks(), nil
		case <-due(next):
		case <-loading: // then no array waits for a driver
			loading, patience = nil, nil
		case <-w.blocks:
			quiet.Reset(quietWait)
		case <-again.C:
		case <-quiet.C:
			if missing != nil && !w.driversLoaded() {
				quiet.Reset(quietWait)
			} else if missing != nil {
				w.waiting(missing)
			}
		case <-ctx.Done():
			if missing == nil {
				w.leaveOut(found)
			}
			return found.disks(), missing
		}
	}
}

// patience is how long a volume with nofail is waited for when the others are
// there.
func (w *worker) patience() time.Duration {
	if !w.driversLoaded() {
		return max(loadingWait, w.plan.Degraded)
	}
	return max(optionalWait, w.plan.Degraded)
}

// limited ends when the plan's wait for devices does.
func (w *worker) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.plan.Wait > 0 {
		return context.WithTimeout(ctx, w.plan.Wait)
	}
	return context.WithCancel(ctx)
}

// due ends a wait; 0 is for ever.
func due(next time.Duration) <-chan time.Time {
	if next == 0 {
		return nil
	}
	return time.After(next)
}

// leaveOut tells of every volume with nofail that is left closed, whatever
// is wrong with it.
func (w *worker) leaveOut(found sightings) {
	for _, s := range found {
		switch {
		case codes.Of(s.err) == "volume-missing" && !w.driversLoaded():
			w.leftClosed(s.volume.Name, codes.Fail("drivers-late", "%w; drivers still load", s.err))
		case s.err != nil:
			w.leftClosed(s.volume.Name, s.err)
		}
	}
}

// leftClosed tells PID 1 and people that a volume stays closed and why.
func (w *worker) leftClosed(name string, err error) {
	w.conn.Send(wire.Record{Kind: wire.KindClosed, Name: name, Code: codes.Of(err), Text: err.Error()})
}

// A sighting is what one look tells of one volume of the plan: a disk or
// why there is none.
type sighting struct {
	volume plan.Volume
	disk   *disk
	err    error
}

type sightings []sighting

func (all sightings) disks() (found []*disk) {
	for _, s := range all {
		if s.disk != nil {
			found = append(found, s.disk)
		}
	}
	return found
}

// required is why the boot cannot go on with what was seen, nil if it can:
// a broken rule before a disk that is not there yet. If every volume has
// nofail, the root is on one of them or spread over several, of which some may
// do if it may run degraded.
func (all sightings) required(degraded bool) (err error) {
	isFound := func(s sighting) bool { return s.disk != nil }
	optional := degraded && slices.ContainsFunc(all, isFound) || slices.ContainsFunc(all, func(s sighting) bool { return !s.volume.NoFail })
	for _, s := range all {
		if s.err == nil || s.volume.NoFail && optional {
			continue
		}
		if codes.Of(s.err) != "volume-missing" {
			return s.err
		}
		if err == nil {
			err = s.err
		}
	}
	return err
}

// optional tells whether a volume with nofail is not there yet.
func (all sightings) optional() bool {
	return slices.ContainsFunc(all, func(s sighting) bool { return s.volume.NoFail && codes.Of(s.err) == "volume-missing" })
}

// sight finds one volume among the devices that carry its UUID.
func sight(v plan.Volume, probes []probed, seen []string) sighting {
	var fit []probed
	for _, p := range probes {
		if strings.EqualFold(p.super.UUID, v.UUID) && p.super.Type == luksType && (v.Serial == "" || p.block.Serial == v.Serial) {
			fit = append(fit, p)
		}
	}

	switch len(fit) {
	case 0:
		if len(seen) == 0 {
			return sighting{v, nil, codes.Fail("volume-missing", "no LUKS2 volume %s (%s): there is no disk at all; is its driver in the image?", v.UUID, v.Name)}
		}
		return sighting{v, nil, codes.Fail("volume-missing", "no LUKS2 volume %s (%s); seen: %s", v.UUID, v.Name, strings.Join(seen, ", "))}
	case 1:
		d, err := newDisk(v, fit[0])
		return sighting{v, d, err}
	}

	paths, err := several(v, fit, "carry the UUID "+v.UUID)
	if err != nil {
		return sighting{v, nil, err}
	}
	d, err := newDisk(v, paths...)
	return sighting{v, d, err}
}

// newDisk is a volume that was found, over the paths to it.
func newDisk(v plan.Volume, paths ...probed) (*disk, error) {
	p := paths[0]
	if p.err != nil {
		return nil, headerError(v, p)
	}
	digest, err := v.PinnedDigest()
	if err != nil {
		return nil, err
	}
	d := &disk{Volume: unlock.Volume{Name: v.Name, Device: p.block.Path, Header: p.header, Digest: digest, Options: dmOptions(v)}, planned: v, block: p.block}
	for _, p := range paths {
		d.paths = append(d.paths, p.block)
	}
	return d, nil
}

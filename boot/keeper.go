package boot

import (
	"fmt"
	"time"

	"latchkey/boot/wire"
)

// maxRestarts is how often a worker or a latch is started again before
// the boot is given up: the machine then starts afresh.
const maxRestarts = 8

// stopGrace is how long a killed child may take to be gone. One that is in
// uninterruptible sleep, in the driver of a dying disk, say, never is.
const stopGrace = 10 * time.Second

// A keeper starts a child, and starts it again.
type keeper struct {
	sys     System
	role    string
	child   Child
	started int           // since the last long-lived one
	ever    int           // in this boot
	born    time.Duration // when the running one was started

	again   <-chan time.Time // when to start it again
	overdue <-chan time.Time // when a killed one should be gone
	silent  <-chan time.Time // when one that owes a word is taken for hung
}

func (k *keeper) start() error {
	k.again = nil
	child, err := k.sys.Start(k.role, k.ever)
	if err != nil {
		return fmt.Errorf("starting the %s: %w", k.role, err)
	}
	k.child = child
	k.started++
	k.ever++
	k.born = k.sys.Now()
	k.heard()
	return nil
}

// heard notes a sign of life.
func (k *keeper) heard() { k.silent = time.After(wire.Silence) }

func (k *keeper) records() <-chan wire.Record {
	if k.child == nil {
		return nil
	}
	return k.child.Records()
}

// send tells a child something. One that is gone shows as the end of its
// records.
func (k *keeper) send(r wire.Record) {
	if k.child != nil {
		k.child.Send(r)
	}
}

// gone notes the end of a child's records: its memory is free.
func (k *keeper) gone() { k.child, k.overdue, k.silent = nil, nil, nil }

// kill ends the child. Its records end soon, or it is overdue.
func (k *keeper) kill() {
	if k.child == nil || k.overdue != nil {
		return
	}
	k.child.Kill()
	k.silent, k.overdue = nil, time.After(stopGrace)
}

// stuck is the error of a child that is overdue.
func (k *keeper) stuck() error {
	return fmt.Errorf("the %s was killed and is not gone after %s: a driver does not let go of it", k.role, stopGrace)
}

// restart says when to start the child again: at once the first time, then
// after 1, 2, 4 … 30 s; ok is false when it was started often enough. A
// child that lived for long was not wrong from the start.
func (k *keeper) restart(most int) (ok bool) {
	const long = 5 * time.Minute
	if k.sys.Now()-k.born > long {
		k.started = 1
	}
	if k.started > most {
		return false
	}
	pause := time.Duration(0)
	if k.started > 1 {
		pause = min(30*time.Second, time.Second<<(k.started-2))
	}
	k.again = time.After(pause)
	return true
}

// stop ends the child and waits until its memory is gone, for stopGrace at
// the most.
func (k *keeper) stop() error {
	k.again = nil
	if k.child != nil {
		k.child.Kill()
	}
	return k.drain(stopGrace, nil)
}

// drain reads what a child still says, until it is gone.
func (k *keeper) drain(grace time.Duration, note func(wire.Record)) error {
	late := time.NewTimer(grace)
	defer late.Stop()
	for k.child != nil {
		select {
		case r, ok := <-k.child.Records():
			if !ok {
				k.gone()
			} else if note != nil {
				note(r)
			}
		case <-late.C:
			k.abandon()
			return k.stuck()
		}
	}
	return nil
}

// abandon forgets a child that cannot be killed. Whatever it says when its
// driver lets go of it, nobody hears it.
func (k *keeper) abandon() {
	go func(records <-chan wire.Record) {
		for range records {
		}
	}(k.child.Records())
	k.gone()
}

package bolt

import (
	"fmt"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"latchkey/kms/store"
)

// maxGroup bounds how many updates share one write to the disk.
const maxGroup = 512

// A job is one update that waits for its group.
type job struct {
	f    func(store.Tx) error
	done chan error
}

// commit runs the updates in groups: while one group is being synced, the
// next gathers. A lone update waits for nobody.
func (d *DB) commit() {
	defer close(d.done)
	debug.SetPanicOnFault(true)
	for first := range d.queue {
		d.run(d.gather(first))
	}
}

func (d *DB) gather(first *job) []*job {
	group := []*job{first}
	for len(group) < maxGroup {
		select {
		case j, ok := <-d.queue:
			if !ok {
				return group
			}
			group = append(group, j)
		default:
			return group
		}
	}
	return group
}

// run commits a group. A job that fails would leave half of itself in the
// shared transaction: it is answered and taken out, and the others run
// again from the start.
func (d *DB) run(group []*job) {
	for len(group) > 0 {
		failed := -1
		err := d.transact(func(tx store.Tx) error {
			for i, j := range group {
				if err := safely(j.f, tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed < 0 {
			for _, j := range group {
				j.done <- err
			}
			return
		}

		group[failed].done <- err
		group = append(group[:failed:failed], group[failed+1:]...)
	}
}

func (d *DB) transact(f func(store.Tx) error) (err error) {
	defer recoverDamage(&err)
	if err := d.inPlace(); err != nil {
		return err
	}
	err = d.write(func(tx *bbolt.Tx) error { return f(writer{reader{tx}, d.logs}) })
	return err
}

// safely keeps a panic of one update from ending the others.
func safely(f func(store.Tx) error, tx store.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("updating the database: %v", p)
		}
	}()
	return f(tx)
}

package boot

import (
	"fmt"
	"time"
)

// Limits of system calls that a dying disk may never end.
const (
	callWait  = 10 * time.Second
	mountWait = 10 * time.Minute // a large journal is replayed
)

// within runs f and waits for its end, for d at the most. A call that does
// not come back is left to itself: PID 1 goes on to the reboot.
func within(d time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("no end after %s", d)
	}
}

package boot

import (
	"io"
	"time"
)

// petEvery is how often the watchdog is petted. Drivers' timeouts are 10 s
// and more; a machine whose PID 1 hangs is reset.
const petEvery = 5 * time.Second

// A petter pets the hardware watchdog while PID 1 lives.
type petter struct {
	stop, stopped chan struct{}
	dog           io.WriteCloser // after stopped; nil if there is none
}

// pet begins. The driver may come late, as a module.
func pet(sys System) *petter {
	p := &petter{stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(p.stopped)
		p.run(sys)
	}()
	return p
}

func (p *petter) run(sys System) {
	tick := time.NewTicker(petEvery)
	defer tick.Stop()
	for {
		if p.dog == nil {
			p.dog, _ = sys.Watchdog() // there is none, or it must be left alone
		}
		if p.dog != nil {
			p.dog.Write([]byte{0})
		}
		select {
		case <-tick.C:
		case <-p.stop:
			return
		}
	}
}

// leave ends the petting and leaves the watchdog armed: should what comes
// next, a reboot, hang, then it resets the machine.
func (p *petter) leave() {
	if p != nil {
		close(p.stop)
		<-p.stopped
	}
}

// disarm ends the petting and leaves the watchdog as it was found: the real
// root decides whether it wants one.
func (p *petter) disarm() {
	p.leave()
	if p.dog != nil {
		p.dog.Close()
	}
}

package daemon

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// While the start takes long, systemd is told so: at least so often as the
// time that it is asked for.
const (
	slowEvery = 10 * time.Second
	slowAsk   = "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=" // sd_notify(3)
)

// slowly does what may take long before the server is ready, such as visiting
// every page of a database after a crash. Systemd would end it after the
// unit's timeout, and begin again.
func slowly(what string, tell func(string), f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(slowEvery):
			tell(slowAsk + what)
		}
	}
}

// garbage is GOGC unless the environment has one: what is live is a few
// megabytes, and collecting it often costs a tenth of the processor time.
const garbage = 400

// ofLimit is the part of the cgroup's memory that Go's heap may have: what is
// mapped and the kernel's buffers need some, too.
const ofLimit = 0.9

// tune sets the garbage collector, unless the environment does. Under the
// limit of a cgroup it works more rather than have the kernel end us.
func tune(log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	if limit, err := memlimit.Set(memlimit.WithRatio(ofLimit), memlimit.WithProvider(memlimit.FromCgroup)); err == nil && limit > 0 && limit < math.MaxInt64 {
		log.Debug("the cgroup limits memory", "heap", limit)
	}
}

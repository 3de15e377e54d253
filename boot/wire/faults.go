package wire

import (
	"os"
	"strings"
	"syscall"

	"latchkey/internal/plan"
)

// Faults is what a debug image does to itself at named points, so that
// tests can see a boot survive it: rd.latchkey.fault=worker:kms:panic.
// The zero value strikes nowhere.
type Faults struct {
	points map[string]string // point → "panic", "kill", "hang"
}

// ReadFaults reads what a role is to be struck by. Only the first
// incarnation of a child is, and only in a debug image.
func ReadFaults(p *plan.Plan, role string, incarnation int, cmdline string) Faults {
	f := Faults{map[string]string{}}
	if !p.Debug || incarnation > 0 {
		return f
	}

	args, err := plan.SplitCmdline(cmdline)
	if err != nil {
		return f
	}

	for _, a := range args {
		if !a.Is("rd.latchkey.fault") {
			continue
		}
		if parts := strings.Split(a.Value, ":"); len(parts) == 3 && parts[0] == role {
			f.points[parts[1]] = parts[2]
		}
	}

	return f
}

// At strikes if the command line says so.
func (f Faults) At(point string) {
	switch f.points[point] {
	case "panic":
		panic("fault injected at " + point)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "hang":
		select {}
	}
}

package chaos_test

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

// A deed is what a machine or an operator does.
type deed int

const (
	ask        deed = iota + 1 // the machine asks for its volume's secrets
	quarantine                 // the operator stops the machine,
	readmit                    // ends that,
	rotate                     // begins a rotation,
	abort                      // calls it off
	report                     // the machine says that the staged secret opens the volume
)

func (d deed) String() string {
	return [...]string{"", "ask", "quarantine", "readmit", "rotate", "abort", "report"}[d]
}

// An input is a deed, and for a report the staged secret that was granted.
type input struct {
	deed
	staged string
}

// An outcome is how a deed ended.
type outcome int

const (
	done    outcome = iota + 1
	refused         // the machine is stopped; a rotation is under way already, or none is
	unknown         // nobody answered: it was done, or it will be, or neither
)

// An output is an outcome, and for an ask the secrets.
type output struct {
	outcome
	active, staged string
}

// A machine is what porcupine compares with: stopped or not, and the secrets
// of its volume.
type machine struct {
	stopped        bool
	active, staged string // "" before it is known, and where there is none
}

// fresh is a staged secret that nobody has seen yet.
const fresh = "?"

var model = porcupine.Model{
	Init: func() any { return machine{} },
	Step: func(state, in, out any) (bool, any) {
		ok, next := step(state.(machine), in.(input), out.(output))
		return ok, next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprint(in, " ", out) },
}

func step(m machine, in input, out output) (bool, machine) {
	switch in.deed {
	case quarantine, readmit:
		m.stopped = in.deed == quarantine
		return true, m
	case rotate, abort:
		under := m.staged != ""
		if out.outcome != unknown && (out.outcome == done) != (under == (in.deed == abort)) {
			return false, m
		}
		if in.deed == abort {
			m.staged = ""
		} else if !under {
			m.staged = fresh
		}
		return true, m
	case report:
		if !m.stopped && m.staged == in.staged {
			m.active, m.staged = m.staged, ""
		}
		return true, m
	}
	return m.answers(out)
}

// answers tells whether the machine can have been answered so.
func (m machine) answers(out output) (bool, machine) {
	if (out.outcome == refused) != m.stopped {
		return false, m
	}
	if m.stopped {
		return true, m
	}
	if m.active == "" {
		m.active = out.active
	}
	if m.staged == fresh && out.staged != "" && out.staged != m.active {
		m.staged = out.staged
	}
	return m.active == out.active && m.staged == out.staged, m
}

// A history is what happened to one machine.
type history []porcupine.Operation

var began = time.Now()

func now() int64 { return time.Since(began).Nanoseconds() }

// never is when an operation ends of which nobody heard.
const never = 1 << 62

// possible tells whether it can have happened one after the other.
func (h history) possible() bool {
	return porcupine.CheckOperations(model, h)
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/label"
)

// A Reach is which machines somebody administers: those that have one of its
// labels, as in "site=berlin". For him there are no others. An empty one is
// all machines, and all that is no machine's.
type Reach []string

// Check says what is wrong with a reach.
func (r Reach) Check() error {
	if r != nil && len(r) == 0 {
		return errors.New("an empty list of labels would be of all machines: leave it out if that is meant")
	}
	return label.Check(r)
}

// Whole tells whether it is all machines.
func (r Reach) Whole() bool { return len(r) == 0 }

// By is the first of the reach's labels that a machine has; empty: none.
func (r Reach) By(labels map[string]string) string {
	for _, one := range r {
		key, value, _ := strings.Cut(one, "=")
		if has, ok := labels[key]; ok && has == value {
			return one
		}
	}
	return ""
}

// Owned tells whether a machine's labels say whose it is: it has one with the
// key of one of the reach's, whatever its value.
func (r Reach) Owned(labels map[string]string) bool {
	return slices.ContainsFunc(r, func(one string) bool {
		key, _, _ := strings.Cut(one, "=")
		_, ok := labels[key]
		return ok
	})
}

// String says it to people.
func (r Reach) String() string {
	if r.Whole() {
		return "all machines"
	}
	return "machines with " + strings.Join(r, " or ")
}

// A Grant is what somebody may do, and to which machines.
type Grant struct {
	Scope Scope
	Reach Reach
}

// Reaching is what a route is to who does not reach all machines. Each route
// says it: one that does not is refused to them.
type Reaching int

// Kinds of routes.
const (
	// OnlyWhole is for who administers all machines.
	OnlyWhole Reaching = iota + 1
	// SameForAll says nothing of machines, and changes nothing of them.
	SameForAll
	// Within answers as if there were no machines but those in reach.
	Within
)

// String is what the OpenAPI document calls it.
func (r Reaching) String() string {
	switch r {
	case OnlyWhole:
		return "whole"
	case SameForAll:
		return "same"
	case Within:
		return "within"
	}
	return "" // nobody said it: refused as OnlyWhole is
}

// lets is nil if a route is for who has this reach.
func (r Reach) lets(one *Route) error {
	if r.Whole() || one.Reaching == SameForAll || one.Reaching == Within {
		return nil
	}
	return fmt.Errorf("%w: it is for who administers all machines, and you administer %s", ErrScope, r)
}

// reachKey finds in a context which machines who administers reaches.
type reachKey struct{}

// ReachOf is the reach of who administers: all machines, by the socket.
func ReachOf(ctx context.Context) Reach {
	r, _ := ctx.Value(reachKey{}).(Reach)
	return r
}

// Reaches is a context in which somebody administers with a reach.
func Reaches(ctx context.Context, r Reach) context.Context {
	return context.WithValue(ctx, reachKey{}, r)
}

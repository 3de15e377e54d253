package md

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/order"
)

// An Array is what members of one UUID form.
type Array struct {
	UUID    string
	Newest  *Member   // whose superblock counts
	Members []*Member // those that the kernel is to get, spares among them
	Old     []*Member // those that missed writes, or that failed
	Missing []int     // places without a member that is in sync
	// Problem is why the array must be left alone, nil if it may run.
	Problem error

	gone bool // a device that the newest member knows is not there
}

// Arrays sorts members into arrays, in the order of their UUIDs. What
// firmware made is an array for each member: nobody here reads which belong
// together.
func Arrays(members []*Member) (all []*Array) {
	by := map[string][]*Member{}
	for _, m := range members {
		key := m.UUID
		if key == "" {
			key = m.Device
		}
		by[key] = append(by[key], m)
	}
	for _, group := range by {
		order.By(group, func(a, b *Member) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Events, a.Events), cmp.Compare(a.Number, b.Number), strings.Compare(a.Device, b.Device))
		})
		all = append(all, assemble(group))
	}
	order.By(all, func(a, b *Array) int {
		return cmp.Or(strings.Compare(a.UUID, b.UUID), strings.Compare(a.Newest.Device, b.Newest.Device))
	})
	return all
}

// rank puts members with a place first: analyze_sbs takes no spare's word.
func rank(m *Member) int {
	if m.Place >= 0 {
		return 0
	}
	return 1
}

// assemble judges the members of one array, the newest first.
func assemble(group []*Member) *Array {
	a := &Array{UUID: group[0].UUID, Newest: group[0]}
	for _, m := range group {
		switch {
		case m.needs != "":
			a.Problem = fail(ErrUnsupported, "%s: %s: that needs mdadm, and is left alone", a, m.needs)
			return a
		case a.isOld(m):
			a.Old = append(a.Old, m)
			continue
		}
		if err := a.contradiction(m); err != nil {
			a.Problem = err
			return a
		}
		a.Members = append(a.Members, m)
	}

	for place := range a.Newest.Places {
		if !a.holds(place) {
			a.Missing = append(a.Missing, place)
		}
	}
	for number, place := range a.Newest.places {
		isThere := func(m *Member) bool { return m.Number == number }
		a.gone = a.gone || place >= 0 && place < a.Newest.Places && !slices.ContainsFunc(a.Members, isThere)
	}
	return a
}

// isOld: the kernel leaves a member out whose count of events is more than
// one behind (super_1_validate). So is one that was found faulty, and a
// spare that the newest superblock does not call one.
func (a *Array) isOld(m *Member) bool {
	switch newest := a.Newest; {
	case m.Place == Faulty:
		return true
	case m.Place == Spare:
		return newest.placeOf(m.Number) != Spare
	case m.Events+1 < newest.Events:
		return true
	case m.Events < newest.Events:
		return newest.placeOf(m.Number) != m.Place
	}
	return false
}

// contradiction: devices that are equally new must agree. If they do not,
// each was in use without the other (they have no common contents any more),
// or one is a copy of the other.
func (a *Array) contradiction(m *Member) error {
	n := a.Newest
	if m.Place == Spare {
		return nil
	}
	if m.Level != n.Level || m.Places != n.Places || m.Layout != n.Layout || m.Version != n.Version || n.placeOf(m.Number) != m.Place || m.placeOf(n.Number) != n.Place {
		return fail(ErrConflict, "%s: %s and %s are equally new and contradict each other: each was in use without the other, and somebody must choose (mdadm --zero-superblock on the one to give up)", a, n, m)
	}
	for _, o := range a.Members {
		if o.Number == m.Number || o.Place == m.Place && o.InSync && m.InSync {
			return fail(ErrConflict, "%s: %s and %s are the same member: one is a copy; unplug it", a, o, m)
		}
	}
	return nil
}

func (m *Member) placeOf(number int) int {
	if number >= len(m.places) {
		return Spare
	}
	return m.places[number]
}

func (a *Array) holds(place int) bool {
	return slices.ContainsFunc(a.Members, func(m *Member) bool { return m.Place == place && m.InSync })
}

// Whole tells whether every device is there that was when the array was last
// in use. There is nothing to wait for, even if it had lost some by then.
func (a *Array) Whole() bool { return !a.gone && a.Enough() == nil }

// Enough is nil if the array can run with what is there: enough of mdadm's
// util.c. The kernel runs no array of parity that was being written to and
// lacks a member.
func (a *Array) Enough() error {
	n := a.Newest
	places, missing := n.Places, len(a.Missing)
	spare := 0
	switch n.Level {
	case 1:
		spare = places - 1
	case 4, 5:
		spare = 1
	case 6:
		spare = 2
	case 10:
		if first := a.lostCopies(); first >= 0 {
			return fmt.Errorf("%s lacks %s: nothing is left of the data from place %d on", a, a.lacks(), first)
		}
		return nil
	}
	switch {
	case missing > spare:
		return fmt.Errorf("%s lacks %s and needs %d of %d", a, a.lacks(), places-spare, places)
	case missing > 0 && !n.Clean && n.Level >= 4:
		return fmt.Errorf("%s lacks %s and was being written to: its parity cannot be trusted, and only mdadm --assemble --force runs it", a, a.lacks())
	}
	return nil
}

// lostCopies is the first of the places that held all copies of some data of
// a raid10 and are missing, -1 if there is none.
func (a *Array) lostCopies() int {
	n := a.Newest
	near, far := int(n.Layout&255), int(n.Layout>>8&255)
	for first := 0; ; {
		lost := true
		for i := range near * far {
			lost = lost && slices.Contains(a.Missing, (first+i)%n.Places)
		}
		if lost {
			return first
		}
		if first = (first + near) % n.Places; first == 0 {
			return -1
		}
	}
}

// lacks names what is missing, for people.
func (a *Array) lacks() string {
	words := "member"
	if len(a.Missing) > 1 {
		words = "members"
	}
	for i, place := range a.Missing {
		if i == 4 {
			return fmt.Sprintf("%s and %d more", words, len(a.Missing)-i)
		}
		if i > 0 {
			words += ","
		}
		words += fmt.Sprintf(" %d", place)
	}
	return words
}

// Degraded says what is missing of an array that runs, "" if nothing is.
func (a *Array) Degraded() string {
	if len(a.Missing) == 0 {
		return ""
	}
	return fmt.Sprintf("%s runs without %s of %d", a, a.lacks(), a.Newest.Places)
}

// LeftOut is a line for each old member.
func (a *Array) LeftOut() (lines []string) {
	for _, m := range a.Old {
		why := fmt.Sprintf("it is at event %d, the others are at %d", m.Events, a.Newest.Events)
		if m.Place == Faulty || a.Newest.placeOf(m.Number) == Faulty {
			why += ", and it has failed"
		}
		lines = append(lines, fmt.Sprintf("%s: %s is out of date and left out: %s", a, m.Device, why))
	}
	return lines
}

// String is what people read of an array.
func (a *Array) String() string {
	n := a.Newest
	if a.UUID == "" {
		return n.Device
	}
	if n.Name != "" {
		return fmt.Sprintf("array %s %s (%s)", levelName(n.Level), n.Name, a.UUID)
	}
	return fmt.Sprintf("array %s %s", levelName(n.Level), a.UUID)
}

// Number is what mdadm would call the array if its name is a number, or if
// an old superblock keeps it; -1 if it is any that is free.
func (a *Array) Number() int {
	n := a.Newest
	if n.Version == "0.90" {
		return number(fmt.Sprint(n.Minor))
	}
	_, name, hasHost := strings.Cut(n.Name, ":")
	if !hasHost {
		name = n.Name
	}
	return number(name)
}

// number reads a number that an array may have: mdadm gives out those from
// 127 down by itself, and none is above 511.
func number(name string) int {
	n := 0
	for _, c := range []byte(name) {
		if c < '0' || c > '9' || n > 511 {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	if name == "" || n > 511 {
		return -1
	}
	return n
}

package eventlog

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// started compares firmware and what it started.
func (c *changes) started(old, new *Summary, names map[Digest]string) {
	if old.Firmware != new.Firmware {
		c.add(0, "", "firmware is %s, was %s", orUnknown(new.Firmware), orUnknown(old.Firmware))
	}
	if slices.EqualFunc(old.Programs, new.Programs, func(a, b Program) bool { return a.SHA256 == b.SHA256 }) {
		return
	}
	for i, p := range new.Programs {
		if slices.ContainsFunc(old.Programs, func(o Program) bool { return o.SHA256 == p.SHA256 }) {
			continue
		}
		text := p.Called(names)
		if i < len(old.Programs) {
			text += " instead of " + old.Programs[i].Called(names)
		}
		c.add(4, "", "%s was started", text)
	}
	if len(new.Programs) < len(old.Programs) {
		c.add(4, "", "%d programs were started, %d before", len(new.Programs), len(old.Programs))
	}
	if !slices.ContainsFunc(*c, func(one Change) bool { return one.PCR == 4 }) {
		c.add(4, "", "programs were started in another order")
	}
}

// Called names a program: as somebody knows it, or by its file and its
// digest's first digits.
func (p Program) Called(names map[Digest]string) string {
	if name := names[p.SHA256]; name != "" {
		return name
	}
	name := path.Base(strings.ReplaceAll(p.Path, `\`, "/"))
	if p.Path == "" {
		name = "a program"
	}
	return fmt.Sprintf("%s (%x…)", name, p.SHA256[:4])
}

// booted compares what the boot loader, or the boot stub, started.
func (c *changes) booted(old, new *Summary) {
	c.measured(11, "section", old.Sections, new.Sections)
	if is, was := new.kernel(), old.kernel(); is != was {
		c.add(kernelPCR(new), "", "kernel is %s, was %s", orUnknown(is), orUnknown(was))
	}
	if old.CommandLine != new.CommandLine {
		c.commandLine(old, new)
	}
	c.measured(12, "", old.Config, new.Config)
	c.measured(9, "", old.Files, new.Files)
	c.measured(14, "shim's list", old.Mok, new.Mok)
	if !slices.Equal(old.Commands, new.Commands) {
		c.add(8, "", "GRUB ran other commands")
	}
}

// kernel is what is known of its release.
func (s *Summary) kernel() string {
	if s.Kernel == "" {
		return s.KernelSaid
	}
	return s.Kernel
}

// kernelPCR is the one that a kernel is measured into.
func kernelPCR(s *Summary) int {
	if len(s.Sections) > 0 {
		return 11
	}
	return 9
}

// commandLine tells the words that came and went: a whole line is long.
func (c *changes) commandLine(old, new *Summary) {
	pcr := 8
	if len(new.Sections) > 0 {
		pcr = 11
	}
	if len(new.Config) > 0 {
		pcr = 12
	}
	is, was := strings.Fields(new.CommandLine), strings.Fields(old.CommandLine)
	var came, went []string
	for _, w := range is {
		if !slices.Contains(was, w) {
			came = append(came, w)
		}
	}
	for _, w := range was {
		if !slices.Contains(is, w) {
			went = append(went, w)
		}
	}
	switch {
	case new.CommandLine == "":
		c.add(pcr, "", "the command line is not known")
	case len(came) > 0 && len(went) > 0:
		c.add(pcr, "", "command line has %s, and no %s", clean(strings.Join(came, " "), 200), clean(strings.Join(went, " "), 200))
	case len(came) > 0:
		c.add(pcr, "", "command line has %s", clean(strings.Join(came, " "), 200))
	case len(went) > 0:
		c.add(pcr, "", "command line has no %s", clean(strings.Join(went, " "), 200))
	default:
		c.add(pcr, "", "command line has another order")
	}
}

// measured compares lists of what was measured.
func (c *changes) measured(pcr int, what string, old, new []Measured) {
	if slices.Equal(old, new) {
		return
	}
	label := func(m Measured) string { return strings.TrimSpace(what + " " + clean(m.Name, 80)) }
	n := len(*c)
	for _, m := range new {
		i := slices.IndexFunc(old, func(o Measured) bool { return o.Name == m.Name })
		switch {
		case i < 0:
			c.add(pcr, "", "%s is new", label(m))
		case old[i].SHA256 != m.SHA256:
			c.add(pcr, "", "%s changed", label(m))
		}
	}
	for _, m := range old {
		if !slices.ContainsFunc(new, func(o Measured) bool { return o.Name == m.Name }) {
			c.add(pcr, "", "%s is gone", label(m))
		}
	}
	if len(*c) == n {
		c.add(pcr, "", "%s came in another order", covers[pcr])
	}
}

// Sentence says in one line what was booted.
func (s *Summary) Sentence() string {
	parts := []string{"Secure Boot is " + orUnknown(s.SecureBoot)}
	if k := s.kernel(); k != "" {
		parts = append(parts, "kernel "+k)
	}
	if s.CommandLine != "" {
		parts = append(parts, "command line "+clean(s.CommandLine, 200))
	}
	return strings.Join(parts, ", ")
}

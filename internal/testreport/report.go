package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An event is a line of "go test -json": go doc test2json.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64 // seconds
}

// An allowance names a test that may be skipped ("*" is any package or
// test), and a part of the reason that it must give.
type allowance struct{ pkg, test, reason string }

// parseAllowed reads lines of package, test and reason. "#" begins a comment.
func parseAllowed(text string) ([]allowance, error) {
	var all []allowance
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		pkg, rest, _ := strings.Cut(line, " ")
		test, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if test == "" || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("line %d of the allowed skips: want PACKAGE TEST REASON, not %q", i+1, line)
		}
		all = append(all, allowance{pkg, test, strings.TrimSpace(reason)})
	}
	return all, nil
}

// A report is what came of the tests so far.
type report struct {
	out     io.Writer
	allowed []allowance
	live    bool
	text    map[string][]string // by package and test: what it has printed
	failed  bool
	skipped []skip
	times   []string
}

// A skip is a test that did not run, and why.
type skip struct{ pkg, test, reason string }

func newReport(out io.Writer, allowed []allowance, live bool) *report {
	return &report{out: out, allowed: allowed, live: live, text: map[string][]string{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintf(r.out, "%s\n", lines.Bytes()) // go's own complaints are no JSON
			continue
		}
		r.take(e)
	}
	return lines.Err()
}

func (r *report) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.text[key] = append(r.text[key], e.Output)
		return
	case "build-output":
		fmt.Fprint(r.out, e.Output)
		return
	case "build-fail":
		r.failed = true
		return
	case "fail":
		r.failed = true
		for _, line := range r.text[key] {
			fmt.Fprint(r.out, line)
		}
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, skip{e.Package, e.Test, reason(r.text[key])})
		}
	case "pass":
	default:
		return
	}

	delete(r.text, key)
	r.say(e)
}

// say prints how a package or, live, a test ended, and keeps its seconds.
func (r *report) say(e event) {
	name := e.Package
	if e.Test != "" {
		name += " " + e.Test
	}
	script := strings.Count(e.Test, "/") == 1 && strings.HasPrefix(e.Test, "TestScripts/")
	if e.Test == "" || script {
		r.times = append(r.times, fmt.Sprintf("%.1f %s", e.Elapsed, name))
	}
	if e.Test == "" && e.Action != "skip" || r.live && e.Test != "" {
		fmt.Fprintf(r.out, "%-4s %s %.1f s\n", e.Action, name, e.Elapsed)
	}
}

// reason finds what t.Skip printed: "file_test.go:12: the reason".
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return line
		}
	}
	return "no reason given"
}

// end prints what was skipped and says whether all is well.
func (r *report) end(strict bool) bool {
	for _, s := range r.skipped {
		may := slices.ContainsFunc(r.allowed, func(a allowance) bool {
			return (a.pkg == "*" || a.pkg == s.pkg) && (a.test == "*" || a.test == s.test) && strings.Contains(s.reason, a.reason)
		})
		switch {
		case may:
			fmt.Fprintf(r.out, "skipped, as allowed: %s %s: %s\n", s.pkg, s.test, s.reason)
		case strict:
			fmt.Fprintf(r.out, "SKIPPED, which CI does not take: %s %s: %s\n", s.pkg, s.test, s.reason)
			r.failed = true
		default:
			fmt.Fprintf(r.out, "skipped: %s %s: %s\n", s.pkg, s.test, s.reason)
		}
	}
	return !r.failed
}

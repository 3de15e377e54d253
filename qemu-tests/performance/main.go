// Performance keeps docs/performance.md: what can be counted is held by its
// numbers, what can only be timed is written as it was measured.
//
//	performance counted [-update] WHAT=NUMBER…   compares, or writes the numbers anew
//	performance timed                            writes what make bench printed, from standard input
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const page = "docs/performance.md"

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "performance:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader) error {
	if len(args) == 0 {
		return fmt.Errorf("want counted or timed")
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	var changed string
	switch args[0] {
	case "counted":
		flags := flag.NewFlagSet("counted", flag.ContinueOnError)
		update := flags.Bool("update", false, "write the numbers anew")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		found, err := parsePairs(flags.Args())
		if err != nil {
			return err
		}
		if !*update {
			return compare(string(text), found)
		}
		changed, err = replace(string(text), "counted", table(found))
		if err != nil {
			return err
		}
	case "timed":
		measured, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		lines := ratios(string(measured))
		if len(lines) == 0 {
			return fmt.Errorf("the output of make bench names no ratio: the page stays as it is")
		}
		changed, err = replace(string(text), "timed", where()+"\n"+strings.Join(lines, "\n")+"\n")
		if err != nil {
			return err
		}
	default:
		return fmt.Errorf("%q is neither counted nor timed", args[0])
	}
	return os.WriteFile(page, []byte(changed), 0o644)
}

// A count is a number of something.
type count struct {
	what string
	n    int
}

func parsePairs(args []string) (all []count, err error) {
	for _, a := range args {
		what, number, ok := strings.Cut(a, "=")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, fmt.Errorf("%q is not WHAT=NUMBER", a)
		}
		all = append(all, count{what, n})
	}
	return all, nil
}

// limit is what the page gives for a number that was found: what depends on
// nothing but our code as it is, frames with a quarter more, for what a slow
// machine sends again in other words, and bytes with half a percent.
func limit(c count) int {
	switch {
	case strings.HasPrefix(c.what, "frames"):
		return c.n + (c.n+3)/4
	case strings.HasPrefix(c.what, "bytes"):
		return (c.n + c.n/200 + 999) / 1000 * 1000
	}
	return c.n
}

func table(found []count) string {
	var b strings.Builder
	b.WriteString("| what is counted | at most |\n|---|---|\n")
	for _, c := range found {
		fmt.Fprintf(&b, "| %s | %s |\n", c.what, grouped(limit(c)))
	}
	return b.String()
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

var rowRE = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([0-9,]+) \|$`)

// compare wants a row of the page for each number, and no number above its
// row's.
func compare(text string, found []count) error {
	section, err := find(text, "counted")
	if err != nil {
		return err
	}
	most := map[string]int{}
	for _, m := range rowRE.FindAllStringSubmatch(section, -1) {
		n, err := strconv.Atoi(strings.ReplaceAll(m[2], ",", ""))
		if err != nil {
			return err
		}
		most[m[1]] = n
	}
	var wrong []string
	for _, c := range found {
		n, ok := most[c.what]
		delete(most, c.what)
		switch {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("%s: %d, and the page has no row for it", c.what, c.n))
		case c.n > n:
			wrong = append(wrong, fmt.Sprintf("%s: %d, at most %d", c.what, c.n, n))
		}
	}
	for what := range most {
		wrong = append(wrong, fmt.Sprintf("%s: was not counted", what))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("a boot is not what %s says: %s (if that is right: go test -run 'TestScripts/performance$' ./qemu-tests -update)", page, strings.Join(wrong, "; "))
	}
	return nil
}

// marks stand around a section of the page.
func marks(name string) (begin, end string) {
	return "<!-- " + name + ":", "<!-- end of " + name + " -->"
}

// find is what stands between a section's marks.
func find(text, name string) (string, error) {
	begin, end := marks(name)
	_, section, ok := strings.Cut(text, begin)
	_, section, more := strings.Cut(section, "-->\n")
	section, _, closed := strings.Cut(section, end)
	if !ok || !more || !closed {
		return "", fmt.Errorf("%s has no section %s", page, name)
	}
	return section, nil
}

func replace(text, name, section string) (string, error) {
	old, err := find(text, name)
	if err != nil {
		return "", err
	}
	begin, _ := marks(name)
	before, after, _ := strings.Cut(text, begin)
	mark, after, _ := strings.Cut(after, "-->\n")
	return before + begin + mark + "-->\n" + section + strings.TrimPrefix(after, old), nil
}

// ratios are the lines of make bench that name a ratio, as a list, each under
// what was measured.
func ratios(text string) (lines []string) {
	heading := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "== "); ok {
			heading = h
			continue
		}
		if !strings.Contains(line, "ratio") {
			continue
		}
		if heading != "" {
			lines = append(lines, "", heading+":", "")
			heading = ""
		}
		lines = append(lines, "- "+line)
	}
	return lines
}

// where says when and on what it was measured.
func where() string {
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	model := "an unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(text); m != nil {
			model = string(m[1])
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("?")
	}
	first, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%s, commit %s, %d × %s, load at the end %s.\n", time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(commit)), runtime.NumCPU(), model, first)
}

// Package plan holds the Plan, all that a boot needs to know, and the
// strict parser that makes it of the image's plan file (trust) and the
// kernel command line (hints).
package plan

import (
	"fmt"
	"strings"
)

// maxCmdline is COMMAND_LINE_SIZE of the largest Linux port we know, in
// bytes: arch/s390/include/asm/setup.h with its default of 4096, doubled.
const maxCmdline = 8192

// An Arg is one word of the kernel command line.
type Arg struct {
	Key      string // as written, up to the first "="
	Value    string // without quotes; "" when HasValue is false
	HasValue bool   // "rd.x=" has an (empty) value, "rd.x" has none
	Pos      int    // offset of the word in the command line, in bytes, from 0
}

// Is tells whether the option is called name; "-" and "_" are the same in
// option names (kernel/params.c, parameqn).
func (a Arg) Is(name string) bool { return canonical(a.Key) == canonical(name) }

// HasPrefix is Is for the first part of a dotted name.
func (a Arg) HasPrefix(prefix string) bool {
	return strings.HasPrefix(canonical(a.Key), canonical(prefix))
}

func (a Arg) String() string {
	if a.HasValue {
		return a.Key + "=" + a.Value
	}
	return a.Key
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// A Problem is one thing on the command line that could not be used as
// it stands. The boot goes on without it.
type Problem struct {
	Arg    Arg
	Reason string // what is wrong and what is expected, one line
}

func (p Problem) String() string {
	if p.Arg == (Arg{}) {
		return "kernel command line: " + oneLine(p.Reason)
	}
	return fmt.Sprintf("option %q at byte %d: %s", p.Arg.String(), p.Arg.Pos, oneLine(p.Reason))
}

// oneLine keeps what an option says from writing to a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// SplitCmdline cuts a kernel command line into words as the kernel does
// (lib/cmdline.c, next_arg): white space separates, double quotes protect
// it and are dropped, a quote may begin before the name or in the value.
// Words after a lone "--" belong to init and are not returned.
func SplitCmdline(line string) ([]Arg, error) {
	if len(line) > maxCmdline {
		return nil, fmt.Errorf("kernel command line has %d bytes, the limit is %d", len(line), maxCmdline)
	}
	line = strings.TrimRight(line, "\n\x00")
	var args []Arg

	for i := 0; i < len(line); {
		if isSpace(line[i]) {
			i++
			continue
		}

		start, quoted := i, false
		for i < len(line) && (quoted || !isSpace(line[i])) {
			if line[i] == '"' {
				quoted = !quoted
			}
			i++
		}

		word := strings.ReplaceAll(line[start:i], `"`, "")
		if word == "--" {
			break
		}

		if word == "" {
			continue
		}
		key, value, has := strings.Cut(word, "=")
		args = append(args, Arg{Key: key, Value: value, HasValue: has, Pos: start})
	}

	return args, nil
}

func isSpace(b byte) bool {
	return b == ' ' || b == '\t' || b == '\n' || b == '\v' || b == '\f' || b == '\r'
}

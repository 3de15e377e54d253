package docexample

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A Command is one call of a program in a page.
type Command struct {
	Where string // "docs/kms.md:12"
	Args  []string
	// Some says that words were left out ("…").
	Some bool
}

var (
	inline       = regexp.MustCompile("`([^`\n]+)`")
	substitution = regexp.MustCompile(`\$\([^)]*\)`)
)

// Commands are all calls of a program: in blocks of commands, and in the
// text between backticks.
func Commands(t testing.TB, program string) (found []Command) {
	t.Helper()
	for _, b := range Blocks(t, "sh", "console") {
		for i, line := range strings.Split(joinLines(b.Text), "\n") {
			if b.Kind == "console" {
				rest, ok := cutPrompt(line)
				if !ok {
					continue
				}
				line = rest
			}
			found = append(found, calls(fmt.Sprintf("%s:%d", b.Page, b.Line+i), line, program)...)
		}
	}

	for page, text := range Pages(t) {
		for i, line := range strings.Split(text, "\n") {
			if page == "docs/codes.md" {
				found = append(found, mentions(fmt.Sprintf("%s:%d", page, i+1), line, program)...)
			}
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				for _, c := range inlineCalls(m[1], program) {
					c.Where = fmt.Sprintf("%s:%d", page, i+1)
					found = append(found, c)
				}
			}
		}
	}
	return found
}

// inlineCalls are the calls in a text between backticks. It may name a
// command without its arguments.
func inlineCalls(text, program string) []Command {
	if !strings.HasPrefix(text, program+" ") {
		return nil
	}
	found := calls("", text, program)
	for i, c := range found {
		if !slices.ContainsFunc(c.Args, func(a string) bool { return strings.HasPrefix(a, "-") || strings.ToLower(a) != a }) {
			found[i].Some = true
		}
	}
	return found
}

// mentions are the commands that a line of advice names, without their
// arguments: "…: latchkey-kms node accept WORDS if you did that".
func mentions(where, line, program string) (found []Command) {
	words := strings.Fields(line)
	for i, w := range words {
		if w != program {
			continue
		}
		c := Command{Where: where, Some: true}
		for _, w := range words[i+1 : min(i+3, len(words))] {
			name := strings.TrimRight(w, ",;:.|")
			if name == "" || strings.ToLower(name) != name {
				break
			}
			if c.Args = append(c.Args, name); name != w {
				break
			}
		}
		found = append(found, c)
	}
	return found
}

// joinLines joins what a backslash continues, and keeps the count of lines.
func joinLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := len(lines) - 2; i >= 0; i-- {
		if rest, ok := strings.CutSuffix(lines[i], `\`); ok {
			lines[i], lines[i+1] = rest+" "+strings.TrimSpace(lines[i+1]), ""
		}
	}
	return strings.Join(lines, "\n")
}

func cutPrompt(line string) (string, bool) {
	if rest, ok := strings.CutPrefix(line, "$ "); ok {
		return rest, true
	}
	return strings.CutPrefix(line, "# ")
}

// calls finds the program among the simple commands of a line.
func calls(where, line, program string) (found []Command) {
	line = substitution.ReplaceAllString(line, "SUBST")
	for _, words := range simpleCommands(line) {
		// "runuser -u x -- program …", "ip netns exec x program …".
		at := slices.Index(words, program)
		if at < 0 || at > 0 && !slices.Contains([]string{"runuser", "sudo", "ip"}, words[0]) {
			continue
		}
		c := Command{Where: where}
		if at > 0 && words[0] == "runuser" { // its -u may name a user like the program
			at = len(words) - 1 - slices.Index(reversed(words), program)
		}
		for _, w := range words[at+1:] {
			if w == "…" || w == "..." {
				c.Some = true
				continue
			}
			c.Args = append(c.Args, w)
		}
		found = append(found, c)
	}
	return found
}

func reversed(words []string) []string {
	words = slices.Clone(words)
	slices.Reverse(words)
	return words
}

// simpleCommands splits a line of shell into commands and words, as far as
// the pages use it: quotes, comments, pipes, lists, redirections.
func simpleCommands(line string) (all [][]string) {
	var words []string
	var word strings.Builder
	quote, begun, redirect := rune(0), false, false
	endWord := func() {
		if begun && !redirect {
			words = append(words, word.String())
		}
		if begun {
			redirect = false
		}
		word.Reset()
		begun = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			all = append(all, words)
		}
		words, redirect = nil, false
	}

	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == ' ' || c == '\t':
			endWord()
		case c == '#' && !begun:
			endCommand()
			return all
		case c == '|' || c == '&' || c == ';':
			endCommand()
		case c == '>' || c == '<':
			endWord()
			redirect = true
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	endCommand()
	return all
}

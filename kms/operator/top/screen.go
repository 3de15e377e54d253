package top

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
)

// Styles are bold and reverse, which every terminal has and which need no
// color.
const (
	bold    = "\x1b[1m"
	reverse = "\x1b[7m"
	plain   = "\x1b[m"
)

// The least terminal: what is asked, and what is to be compared, must be seen.
const (
	leastWidth  = 60
	leastHeight = 24
)

func (v *view) small() bool { return v.width < leastWidth || v.height < leastHeight }

// View implements tea.Model.
func (v *view) View() tea.View {
	if v.small() {
		out := tea.NewView(fmt.Sprintf("make the terminal\nlarger: %dx%d\nq: leave", leastWidth, leastHeight))
		out.AltScreen = true
		return out
	}
	foot := append(strings.Split(ansi.Wordwrap(v.said(), max(v.width, 1), ""), "\n"), v.help())
	lines := v.head()
	room := v.height - len(lines) - len(foot)
	if v.open != nil {
		lines = append(lines, v.machine(room)...)
	} else {
		lines = append(lines, v.list(room)...)
	}
	for len(lines) < v.height-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines, foot...)

	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], max(v.width, 1), "…")
	}
	out := tea.NewView(strings.Join(lines, "\n"))
	out.AltScreen, out.WindowTitle = true, "latchkey-kms"
	return out
}

// head is which server it is, and what it did of late.
func (v *view) head() []string {
	count := map[string]int{}
	for _, e := range v.events {
		if e.Node != "" && e.Status != "" && e.Event != "boot-log" { // which is of an answer that is counted
			count[e.Status]++
		}
	}
	waiting := fmt.Sprint(len(v.waiting))
	if v.more {
		waiting = fmt.Sprintf("%d or more", len(v.waiting))
	}
	full := ""
	if len(v.events) == mostShown {
		full = " or more"
	}
	given := count[kms.OK.Code()]
	delete(count, kms.OK.Code())
	others := 0
	for _, n := range count {
		others += n
	}
	return []string{
		fmt.Sprintf("%slatchkey-kms%s  %s  %s", bold, plain, clean(v.title), v.now.Format("15:04:05")),
		fmt.Sprintf("%s wait for you; in %d minutes %d%s were answered, %d not", waiting, int(counted.Minutes()), given, full, others),
		"",
	}
}

// list is who waits, and what happened last.
func (v *view) list(height int) []string {
	lines := []string{bold + "WAITING" + plain}
	if len(v.waiting) == 0 {
		lines = append(lines, "  nobody")
	}
	room := max(height*2/3-1, 1)
	at := v.at()
	first := max(0, min(at-room/2, len(v.waiting)-room))
	for i := first; i < len(v.waiting) && i < first+room; i++ {
		n := v.waiting[i]
		row := fmt.Sprintf("  %-44s %-15s %-8s %s", called(n), clean(n.LastFrom), ago(v.now.Sub(n.First)), why(n))
		if i == at {
			row = reverse + "> " + row[2:] + plain
		}
		lines = append(lines, row)
	}

	lines = append(lines, "", bold+"JUST NOW"+plain)
	for _, e := range v.events {
		if len(lines) >= height {
			break
		}
		lines = append(lines, "  "+event(e))
	}
	return lines
}

// called is a machine's name, if somebody gave it one, and its words.
func called(n lk1.Node) string {
	if name := n.Labels["name"]; name != "" {
		return clean(name) + " (" + n.Words + ")"
	}
	return n.Words
}

// why is what the machine waits for.
func why(n lk1.Node) string {
	if n.Describe() != "approved" {
		return n.Describe()
	}
	return clean(n.LastStatus)
}

func event(e ledger.Event) string {
	parts := []string{e.Time.Local().Format("15:04:05"), e.Event}
	for _, p := range []string{e.Status, e.Reason, e.From, e.Detail} {
		if p != "" {
			parts = append(parts, clean(p))
		}
	}
	if len(e.Node) > 8 {
		parts = append(parts, "node "+clean(e.Node[:8]))
	}
	return strings.Join(parts, "  ")
}

// machine is all there is to say of the one that is looked at; its words are
// large, to be compared.
func (v *view) machine(height int) []string {
	n := v.open
	lines := []string{bold + "COMPARE WITH THE MACHINE'S CONSOLE" + plain}
	for _, word := range strings.Fields(n.Words) {
		lines = append(lines, "    "+bold+spaced(word)+plain)
	}
	lines = append(lines, "")

	var text bytes.Buffer
	v.describe(&text, *n)
	all := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	v.scroll = max(0, min(v.scroll, len(all)-1))
	for i := v.scroll; i < len(all) && len(lines) < height; i++ {
		lines = append(lines, clean(all[i]))
	}
	return lines
}

// spaced is a word in large letters, as far as a terminal has them.
func spaced(word string) string {
	return strings.Join(strings.Split(strings.ToUpper(word), ""), " ")
}

// said is what a person should know now: a question, what was done, or that
// what is shown is old.
func (v *view) said() string {
	switch {
	case v.asking != "":
		for _, c := range v.choices() {
			if c.verb == v.asking {
				return reverse + c.says + "? y is yes, any other key no" + plain
			}
		}
	case v.note != "":
		return bold + clean(v.note) + plain
	case v.failed != nil:
		return bold + "what you see is old: " + clean(v.failed.Error()) + plain
	}
	return ""
}

func (v *view) help() string {
	if v.open == nil {
		return "up, down: choose   enter: look at it   q: leave"
	}
	keys := []string{}
	for _, c := range v.choices() {
		keys = append(keys, c.key+": "+c.says)
	}
	return strings.Join(append(keys, "up, down: scroll", "esc: back", "q: leave"), "   ")
}

// clean is text of others without what moves a terminal's cursor.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

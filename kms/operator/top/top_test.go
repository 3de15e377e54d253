package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/lk1"
)

// quiet is a server that nobody asks.
type quiet struct{}

func (quiet) Call(context.Context, string, string, url.Values, any, any) error { return nil }
func (quiet) Watch(context.Context, func(lk1.Node) error) error                { return nil }

func waits(n int) lk1.Node {
	var node lk1.Node
	node.ID = kms.NodeID{byte(n), byte(n >> 8)}
	node.State = fleet.Pending
	node.Words = fmt.Sprintf("words of number %d", n)
	return node
}

// shown is a view of so many machines that wait.
func shown(t *testing.T, nodes int) *view {
	t.Helper()
	v := &view{ctx: t.Context(), server: quiet{}, title: "here", describe: func(w io.Writer, n lk1.Node) { fmt.Fprintln(w, "all there is to say of", n.Words) }}
	var n news
	for i := range nodes {
		n.waiting = append(n.waiting, waits(i))
	}
	v.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	v.Update(n)
	return v
}

func press(v *view, names ...string) {
	for _, k := range names {
		v.press(k)
	}
}

func text(v *view) string { return v.View().Content }

// However many wait, the chosen one is on the screen, and the screen is no
// higher than the terminal.
func TestListFitsTheScreen(t *testing.T) {
	v := shown(t, 150)
	for _, row := range []struct {
		keys string
		want int
	}{{"down down", 2}, {"up", 1}, {"up up up", 0}, {"end", 149}, {"down", 149}, {"home", 0}, {"G k", 148}, {"g j", 1}} {
		press(v, strings.Fields(row.keys)...)
		got := text(v)
		if want := fmt.Sprintf("> words of number %d ", row.want); !strings.Contains(got, want) {
			t.Errorf("after %s the screen has no %q:\n%s", row.keys, want, got)
		}
		if lines := strings.Count(got, "\n") + 1; lines != 24 {
			t.Errorf("after %s the screen has %d lines", row.keys, lines)
		}
	}

	for _, size := range []tea.WindowSizeMsg{{Width: 1, Height: 1}, {Width: 10, Height: 5}, {}} {
		v.Update(size)
		text(v) // however small: no panic
	}
}

// A machine that is gone from the list leaves the choice to the first.
func TestChosenIsGone(t *testing.T) {
	v := shown(t, 3)
	press(v, "down", "down")
	v.Update(news{waiting: []lk1.Node{waits(0), waits(1)}})
	if got := text(v); !strings.Contains(got, "> words of number 0 ") {
		t.Errorf("the chosen machine is gone, and the screen is:\n%s", got)
	}
}

// What machines say moves no cursor.
func TestNothingMovesTheCursor(t *testing.T) {
	v := shown(t, 1)
	v.waiting[0].LastFrom = "1\x1b[2J2"
	v.events = []ledger.Event{{Event: "get", Detail: "a\x1b]0;title\x07b\u202e"}}
	v.describe = func(w io.Writer, _ lk1.Node) { fmt.Fprint(w, "boot \x1b[1;1H says") }
	v.title = "here\x1b[A"
	v.failed = errors.New("it\x1b[3J failed")
	for _, open := range []bool{false, true} {
		if open {
			v.open = &v.waiting[0]
		}
		got := strings.NewReplacer(bold, "", reverse, "", plain, "").Replace(text(v))
		if strings.ContainsAny(got, "\x1b\x07\u202e") {
			t.Errorf("the screen is %q", got)
		}
	}
}

// What may be done with a machine, by its state; what is asked about first.
func TestChoices(t *testing.T) {
	stored := []lk1.Asked{{Standing: lk1.Stored}}
	for _, row := range []struct {
		name string
		node func(*lk1.Node)
		want []string // ! is asked about
	}{
		{"pending", func(*lk1.Node) {}, []string{"a approve", "s quarantine!"}},
		{"free volumes", func(n *lk1.Node) { n.Asks = []lk1.Asked{{Standing: lk1.Free}} }, []string{"a approve", "s quarantine!"}},
		{"a secret is there", func(n *lk1.Node) { n.Asks = stored }, []string{"a approve!", "s quarantine!"}},
		{"others ask, too", func(n *lk1.Node) { n.Asks = []lk1.Asked{{Standing: lk1.Contested}} }, []string{"a approve!", "s quarantine!"}},
		{"quarantined", func(n *lk1.Node) { n.Quarantined = true }, []string{"s readmit!"}},
		{"deleted", func(n *lk1.Node) { n.State = fleet.Deleted }, nil},
		{"approved", func(n *lk1.Node) { n.State = fleet.Approved }, []string{"s quarantine!"}},
	} {
		v := shown(t, 1)
		v.open = &v.waiting[0]
		row.node(v.open)
		var got []string
		for _, c := range v.choices() {
			one := c.key + " " + c.verb
			if c.sure {
				one += "!"
			}
			got = append(got, one)
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
}

// A question is answered by y alone, and q and Ctrl-C leave whatever is asked.
func TestOnlyYIsYes(t *testing.T) {
	for _, key := range []string{"n", "Y", "enter", "s", "esc", "a"} {
		v := shown(t, 1)
		v.open = &v.waiting[0]
		press(v, "s")
		if v.asking != "quarantine" {
			t.Fatalf("s asks about %q", v.asking)
		}
		if cmd := v.press(key); cmd != nil || v.asking != "" || v.note != "nothing was changed" {
			t.Errorf("%s to a question: something is done, or it stands", key)
		}
	}
}

// While the server does not answer, what was shown stays, and is said to be
// old.
func TestOldIsSaid(t *testing.T) {
	v := shown(t, 2)
	v.busy = true
	v.Update(news{err: errors.New("no answer")})
	if got := text(v); !strings.Contains(got, "what you see is old: no answer") || !strings.Contains(got, "number 1") {
		t.Errorf("the screen is:\n%s", got)
	}
	if v.ask() == nil || v.ask() != nil {
		t.Error("want one question after an answer, and no second one before the next answer")
	}
}

// Where the words or a question would not be seen, no key does anything.
func TestSmallTerminal(t *testing.T) {
	for _, size := range []tea.WindowSizeMsg{{Width: 20, Height: 5}, {Width: 59, Height: 40}, {Width: 100, Height: 23}} {
		v := shown(t, 1)
		v.open = &v.waiting[0]
		v.Update(size)
		if got := text(v); !strings.Contains(got, "larger: 60x24") {
			t.Errorf("%dx%d: the screen is %q", size.Width, size.Height, got)
		}
		for _, key := range []string{"a", "s"} {
			if cmd := v.press(key); cmd != nil || v.asking != "" {
				t.Errorf("%dx%d: %s does something", size.Width, size.Height, key)
			}
		}
	}
}

// Package top is the operator's terminal view of a key server: which
// machines wait, what happens now, and a key that approves the machine that
// was looked at.
package top

import (
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
)

// A Server is asked what is shown: operator.Client.
type Server interface {
	Call(ctx context.Context, method, path string, query url.Values, body, to any) error
	Watch(ctx context.Context, tell func(lk1.Node) error) error
}

// How often the server is asked, the time whose events are counted, and how
// much one question may bring.
const (
	every     = 2 * time.Second
	counted   = 5 * time.Minute
	mostNodes = 200
	mostShown = 1000 // events
)

// A view is the state of the screen.
type view struct {
	ctx      context.Context
	server   Server
	title    string                    // which server this is
	describe func(io.Writer, lk1.Node) // of one machine, in lines

	width, height int
	now           time.Time
	waiting       []lk1.Node
	more          bool // machines wait that are not in waiting
	events        []ledger.Event
	chosen        kms.NodeID // in the list of those that wait
	open          *lk1.Node  // the machine that is looked at
	asking        string     // the change that a y would do
	scroll        int        // lines of the machine that are above the screen
	note          string     // what became of the last change
	failed        error      // of the last question
	busy          bool
}

// Messages of what was asked.
type (
	news struct {
		waiting []lk1.Node
		more    bool
		events  []ledger.Event
		err     error
	}
	looked struct {
		node lk1.Node
		err  error
	}
	changed struct {
		done string
		node lk1.Node
		err  error
	}
	tick    time.Time
	watched struct{}
)

// Run shows the view until the person leaves it. describe writes what there
// is to say of one machine.
func Run(ctx context.Context, s Server, title string, describe func(io.Writer, lk1.Node), in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := tea.NewProgram(&view{ctx: ctx, server: s, title: title, describe: describe, now: time.Now()}, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out))

	ended := make(chan struct{})
	go func() { // whoever comes to wait is seen at once; without the stream, at the next tick
		defer close(ended)
		_ = s.Watch(ctx, func(lk1.Node) error { p.Send(watched{}); return nil })
	}()
	_, err := p.Run()
	stop()
	<-ended
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// Init implements tea.Model.
func (v *view) Init() tea.Cmd { return tea.Batch(v.ask(), v.tick()) }

func (v *view) tick() tea.Cmd { return tea.Tick(every, func(t time.Time) tea.Msg { return tick(t) }) }

// ask asks for what is shown. One question at a time is under way.
func (v *view) ask() tea.Cmd {
	if v.busy {
		return nil
	}
	v.busy = true
	since := time.Now().Add(-counted)
	return func() tea.Msg {
		var p lk1.NodePage
		var found admin.Found
		err := v.server.Call(v.ctx, "GET", "/v1/nodes/page", url.Values{"limit": {strconv.Itoa(mostNodes)}}, nil, &p)
		if err == nil {
			err = v.server.Call(v.ctx, "GET", "/v1/audit/search", url.Values{"since": {since.UTC().Format(time.RFC3339)}, "limit": {strconv.Itoa(mostShown)}}, nil, &found)
		}
		waiting := slices.DeleteFunc(p.Nodes, func(n lk1.Node) bool { return !n.Waits() })
		return news{waiting, p.Next != "" && len(waiting) == mostNodes, found.Events, err}
	}
}

// look asks for one machine.
func (v *view) look(id kms.NodeID) tea.Cmd {
	return func() tea.Msg {
		var n lk1.Node
		err := v.server.Call(v.ctx, "GET", "/v1/node", url.Values{"who": {id.String()}}, nil, &n)
		return looked{n, err}
	}
}

// Update implements tea.Model.
func (v *view) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case tea.WindowSizeMsg:
		v.width, v.height = m.Width, m.Height
	case tick:
		v.now = time.Time(m)
		return v, tea.Batch(v.ask(), v.tick())
	case watched:
		return v, v.ask()
	case news:
		v.busy = false
		if v.failed = m.err; m.err == nil {
			v.waiting, v.more, v.events = m.waiting, m.more, m.events
		}
	case looked:
		if v.failed = m.err; m.err == nil {
			v.open, v.scroll = &m.node, 0
		}
	case changed:
		v.take(m)
		return v, v.ask()
	case tea.KeyPressMsg:
		return v, v.press(m.String())
	}
	return v, nil
}

// take is what a change did. What was refused since the machine showed
// something else is shown again.
func (v *view) take(c changed) {
	if c.err != nil {
		v.note = "not done: " + c.err.Error()
	} else {
		v.note = c.done
	}
	if v.open != nil && c.node.ID == v.open.ID {
		v.open = &c.node
	}
}

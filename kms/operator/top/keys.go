package top

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"

	tea "charm.land/bubbletea/v2"

	"latchkey/kms/server/lk1"
)

// press does what a key is for.
func (v *view) press(key string) tea.Cmd {
	if key == "ctrl+c" || key == "q" {
		return tea.Quit
	}
	if v.small() { // nothing is done that nobody sees
		return nil
	}
	if v.open == nil {
		return v.pressInList(key)
	}
	return v.pressAtMachine(key)
}

func (v *view) pressInList(key string) tea.Cmd {
	at := v.at()
	switch key {
	case "up", "k":
		at--
	case "down", "j":
		at++
	case "home", "g":
		at = 0
	case "end", "G":
		at = len(v.waiting) - 1
	case "enter":
		if len(v.waiting) > 0 {
			v.note = ""
			return v.look(v.waiting[at].ID)
		}
	}
	if len(v.waiting) > 0 {
		v.chosen = v.waiting[min(max(at, 0), len(v.waiting)-1)].ID
	}
	return nil
}

// at is where the chosen machine is in the list: the first, if it is gone.
func (v *view) at() int {
	return max(0, slices.IndexFunc(v.waiting, func(n lk1.Node) bool { return n.ID == v.chosen }))
}

// pressAtMachine first takes the answer to a question: any key but y is no.
func (v *view) pressAtMachine(key string) tea.Cmd {
	if verb := v.asking; verb != "" {
		v.asking = ""
		if key == "y" {
			return v.change(verb)
		}
		v.note = "nothing was changed"
		return nil
	}

	switch key {
	case "esc", "backspace", "left":
		v.open, v.note = nil, ""
	case "up", "k":
		v.scroll = max(0, v.scroll-1)
	case "down", "j":
		v.scroll++
	case "r":
		v.note = ""
		return v.look(v.open.ID)
	default:
		for _, one := range v.choices() {
			if one.key == key {
				v.note = ""
				if one.sure {
					v.asking = one.verb
					return nil
				}
				return v.change(one.verb)
			}
		}
	}
	return nil
}

// A choice is what may be done with the machine that is looked at.
type choice struct {
	key, verb, says string
	sure            bool // it is asked about
}

// choices are what the pages in a browser offer for the same machine. The key
// that approves is one key, since the machine is on the screen; it is asked
// about where approving gives it a secret that is there, or what others ask
// for, too.
func (v *view) choices() (out []choice) {
	n := v.open
	unmeasured := n.Cover != nil && n.Cover.Kind == "UNMEASURED"
	verb, says := "", ""
	switch n.Describe() {
	case "quarantined":
		return []choice{{"s", "readmit", "readmit", true}}
	case "deleted":
		return nil
	case "pending", "lapsed":
		verb, says = "approve", "approve"
	case "approved":
		if n.Waits() {
			verb, says = "accept", "accept this boot"
		}
	}

	switch {
	case verb != "" && unmeasured:
		out = append(out, choice{"a", verb + " unmeasured", says + ", though nothing measures its initrd", true})
	case verb != "":
		others := slices.ContainsFunc(n.Asks, func(a lk1.Asked) bool { return a.Standing == lk1.Stored || a.Standing == lk1.Contested })
		if verb == "approve" && others {
			says += ", and give it what it asks for"
		}
		out = append(out, choice{"a", verb, says, verb == "approve" && others})
	}
	return append(out, choice{"s", "quarantine", "stop", true})
}

// done says what became of the machine.
var done = map[string]string{
	"approve": "approved: it gets its keys at its next try", "accept": "accepted: from now on this boot is the approved one",
	"quarantine": "stopped: it is refused from its next request on", "readmit": "readmitted: it gets its keys at its next try",
}

// change does it to exactly what is on the screen: a machine that has shown
// something else since is refused, and shown again.
func (v *view) change(verb string) tea.Cmd {
	n := *v.open
	verb, unmeasured := cutUnmeasured(verb)
	query := url.Values{"who": {n.ID.String()}}
	var body any
	switch verb {
	case "approve":
		query, body = nil, lk1.Approval{Who: n.ID.String(), Seen: n.Seen, Unmeasured: unmeasured}
	case "accept":
		query.Set("shown", n.Seen)
		query.Set("unmeasured", strconv.FormatBool(unmeasured))
	}

	return func() tea.Msg {
		var answer json.RawMessage
		err := v.server.Call(v.ctx, "POST", "/v1/node/"+verb, query, body, &answer)
		says := done[verb]
		if needs := lk1.NeedsOf(answer); needs != "" {
			says = "not done yet: " + needs
		}
		now := n
		if looking := v.server.Call(v.ctx, "GET", "/v1/node", url.Values{"who": {n.ID.String()}}, nil, &now); looking != nil {
			now = n
		}
		return changed{says, now, err}
	}
}

func cutUnmeasured(verb string) (string, bool) {
	const suffix = " unmeasured"
	if len(verb) > len(suffix) && verb[len(verb)-len(suffix):] == suffix {
		return verb[:len(verb)-len(suffix)], true
	}
	return verb, false
}

package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
)

// Bounds of a list: machines of a page, and machines that one search looks
// through.
const (
	listPage = 100
	listLook = 20_000
)

// machinesView is the list.
type machinesView struct {
	Waiting []lk1.Node
	Nodes   []lk1.Node
	Search  string
	Next    string // cursor; empty: that was all
	Partly  bool   // the search did not look at all
}

// machines lists machines, those that wait first.
func (v *visit) machines() error {
	q := v.r.URL.Query()
	view := machinesView{Search: strings.TrimSpace(q.Get("q"))}
	after := q.Get("after")
	for looked := 0; ; {
		var p lk1.NodePage
		limit := listPage
		if view.Search != "" {
			limit = 1000
		}
		if err := v.get("/v1/nodes/page", url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}, &p); err != nil {
			return err
		}
		for _, n := range p.Nodes {
			if matches(n, view.Search) {
				view.add(n)
			}
		}
		looked += len(p.Nodes)
		after = p.Next
		if after == "" || len(view.Waiting)+len(view.Nodes) >= listPage || looked >= listLook {
			break
		}
	}
	view.Next, view.Partly = after, view.Search != "" && after != ""
	return v.render("machines", view)
}

func (m *machinesView) add(n lk1.Node) {
	if n.Waits() {
		m.Waiting = append(m.Waiting, n)
		return
	}
	m.Nodes = append(m.Nodes, n)
}

// matches tells whether a machine is one that somebody looks for.
func matches(n lk1.Node, search string) bool {
	if search == "" {
		return true
	}
	search = strings.ToLower(search)
	texts := []string{n.Words, n.ID.String(), n.Describe(), n.LastStatus, n.LastFrom}
	for key, value := range n.Labels {
		texts = append(texts, key+"="+value)
	}
	for _, u := range n.Bound {
		texts = append(texts, u.String())
	}
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), search) })
}

// waiting is the part of the list that changes while people look.
func (v *visit) waiting() error {
	var p lk1.NodePage
	if err := v.get("/v1/nodes/page", url.Values{"limit": {strconv.Itoa(listPage)}}, &p); err != nil {
		return err
	}
	var view machinesView
	for _, n := range p.Nodes {
		view.add(n)
	}
	return v.render("waiting", view)
}

// live is the stream of machines that come to wait.
func (v *visit) live() error {
	r := v.r.Clone(v.r.Context())
	r.Method, r.URL = http.MethodGet, &url.URL{Path: "/v1/nodes/watch"}
	v.api.ServeHTTP(v.w, r)
	return nil
}

// machineView is one machine.
type machineView struct {
	lk1.Node
	Name    string
	Values  []value
	Explain *lk1.Explanation
	Events  []ledger.Event
	Held    []lk1.Asked // volumes that approving it gives away, beside its own
	Refused string      // why what was asked for was not done
	Done    string
}

// A value is one PCR, as shown and as approved.
type value struct {
	PCR           int
	Shown, Pinned string // hex; Pinned is empty if none is
	Differs       bool
}

func (v *visit) machine() error {
	id := v.r.PathValue("id")
	if _, err := kms.ParseNodeID(id); err != nil { // words, or a name
		var n lk1.Node
		if err := v.get("/v1/node", url.Values{"who": {id}}, &n); err != nil {
			return err
		}
		http.Redirect(v.w, v.r, "/machines/"+n.ID.String(), http.StatusSeeOther)
		return nil
	}
	view, err := v.look(id)
	if err != nil {
		return err
	}
	view.Done = v.justDone(view.ID.String())
	return v.render("machine", view)
}

// look gathers what there is to say of a machine.
func (v *visit) look(id string) (view machineView, err error) {
	who := url.Values{"who": {id}}
	if _, err := kms.ParseNodeID(id); err != nil {
		return view, &admin.StatusError{Status: http.StatusNotFound, Text: err.Error()}
	}
	if err := v.get("/v1/node", who, &view.Node); err != nil {
		return view, err
	}
	view.Name = view.Labels["name"]
	if view.Shown != nil {
		for _, pcr := range slices.Sorted(maps.Keys(view.Shown.PCRs)) {
			one := value{PCR: pcr, Shown: fmt.Sprintf("%x", view.Shown.PCRs[pcr])}
			if pinned, ok := view.Pins[pcr]; ok {
				one.Pinned, one.Differs = fmt.Sprintf("%x", pinned), pinned != view.Shown.PCRs[pcr]
			}
			view.Values = append(view.Values, one)
		}
		view.Explain = &lk1.Explanation{}
		if err := v.get("/v1/policy/explain", who, view.Explain); err != nil {
			return view, err
		}
	}
	for _, a := range view.Asks {
		if a.Standing == lk1.Stored || a.Standing == lk1.Contested {
			view.Held = append(view.Held, a)
		}
	}

	found := struct{ Events []ledger.Event }{}
	if err := v.get("/v1/audit/search", url.Values{"node": {id}, "limit": {"30"}}, &found); err != nil {
		return view, err
	}
	view.Events = found.Events
	return view, nil
}

// done is what a page says after something was done.
var done = map[string]string{
	"agree":      "Noted. It is done when enough people have said the same.",
	"approve":    "Approved. It gets what is bound to it when it asks next, within half a minute.",
	"accept":     "Accepted: from now on this boot is the approved one.",
	"quarantine": "Stopped. It is refused from its next request on.",
	"readmit":    "Readmitted.",
	"renew":      "Renewed, and let through for an hour outside its windows.",
	"delete":     "Deleted: its TPM stays refused.",
	"undelete":   "It may ask again, and waits for approval then.",
	"push":       "Left for its next question, within half a minute; it is gone after ten minutes.",
}

// change does what a button says, to exactly what was looked at.
func (v *visit) change() error {
	id, verb := v.r.PathValue("id"), v.r.PathValue("verb")
	if done[verb] == "" || verb == "agree" {
		return errNoSuch
	}
	path, query, body := "/v1/node/"+verb, url.Values{"who": {id}}, []byte(nil)
	shown := v.r.PostFormValue("shown")
	unmeasured := v.r.PostFormValue("unmeasured") != ""
	switch verb {
	case "accept":
		query.Set("shown", shown)
		query.Set("unmeasured", strconv.FormatBool(unmeasured))
	case "approve":
		query = nil
		text, err := json.Marshal(lk1.Approval{Who: id, Seen: shown, Unmeasured: unmeasured})
		if err != nil {
			return err
		}
		body = text
	case "push":
		query.Set("shown", shown)
		body = []byte(v.r.PostFormValue("passphrase"))
		defer clear(body)
	}
	if (verb == "approve" || verb == "accept" || verb == "push") && shown == "" {
		return v.refused(id, &admin.StatusError{Status: http.StatusConflict, Text: "The form did not say what you looked at. Look at it again."})
	}
	var answer json.RawMessage
	if err := v.ask(http.MethodPost, path, query, body, &answer); err != nil {
		return v.refused(id, err)
	}
	if lk1.NeedsOf(answer) != "" {
		verb = "agree"
	}
	http.SetCookie(v.w, &http.Cookie{Name: doneCookie, Value: verb + "." + id, Path: "/", MaxAge: 60, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(v.w, v.r, "/machines/"+id, http.StatusSeeOther)
	return nil
}

// doneCookie says what was done, to the page that follows. A link cannot.
const doneCookie = "__Host-latchkey-done"

// justDone is what was done to a machine right before, once.
func (v *visit) justDone(id string) string {
	c, err := v.r.Cookie(doneCookie)
	if err != nil {
		return ""
	}
	verb, to, _ := strings.Cut(c.Value, ".")
	if to != id {
		return ""
	}
	http.SetCookie(v.w, &http.Cookie{Name: doneCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	return done[verb]
}

// refused shows the machine as it is now, with why nothing was done.
func (v *visit) refused(id string, why error) error {
	view, err := v.look(id)
	if err != nil {
		return err
	}
	status := http.StatusInternalServerError
	if e, ok := errors.AsType[*admin.StatusError](why); ok {
		status = e.Status
	}
	view.Refused = why.Error()
	v.show(v.w, v.r, status, "machine", view)
	return nil
}

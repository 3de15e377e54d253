package page

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	kairos "latchkey/kms/server/kairos/keeper"
	"latchkey/kms/server/lk1"
	talos "latchkey/kms/server/talos/keeper"
)

var errNoSuch = &admin.StatusError{Status: http.StatusNotFound, Text: "There is no such thing to do."}

// othersView is the machines of other protocols.
type othersView struct {
	Done   string
	Kairos []kairos.Node
	Talos  []talos.Node
}

func (v *visit) others() error {
	view := othersView{Done: v.justDone("others")}
	if err := errors.Join(v.get("/v1/kairos/nodes", nil, &view.Kairos), v.get("/v1/talos/nodes", nil, &view.Talos)); err != nil {
		return err
	}
	return v.render("others", view)
}

// changeOther does a command to a machine of another protocol.
func (v *visit) changeOther() error {
	verb := v.r.PathValue("verb")
	if !slices.Contains([]string{"approve", "accept", "renew", "quarantine", "readmit"}, verb) {
		return errNoSuch
	}
	name := map[string]string{"kairos": "hash", "talos": "uuid"}[v.r.PathValue("protocol")]
	if name == "" {
		return errNoSuch
	}
	query := url.Values{name: {v.r.PostFormValue("id")}}
	var answer json.RawMessage
	if err := v.ask(http.MethodPost, "/v1/"+v.r.PathValue("protocol")+"/"+verb, query, nil, &answer); err != nil {
		return err
	}
	if lk1.NeedsOf(answer) != "" {
		http.SetCookie(v.w, &http.Cookie{Name: doneCookie, Value: "agree.others", Path: "/", MaxAge: 60, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
	http.Redirect(v.w, v.r, "/others", http.StatusSeeOther)
	return nil
}

func (v *visit) volumes() error {
	var list []lk1.Volume
	if err := v.get("/v1/volumes", nil, &list); err != nil {
		return err
	}
	view := volumesView{Search: strings.TrimSpace(v.r.URL.Query().Get("q")), All: len(list)}
	for _, one := range list {
		text := strings.ToLower(one.UUID.String() + " " + one.Words + " " + one.Mode)
		if strings.Contains(text, strings.ToLower(view.Search)) {
			view.Found++
			if len(view.Volumes) < maxVolumes {
				view.Volumes = append(view.Volumes, one)
			}
		}
	}
	return v.render("volumes", view)
}

// maxVolumes is how many one page shows.
const maxVolumes = 500

// volumesView is the volumes that somebody looks for.
type volumesView struct {
	Volumes    []lk1.Volume
	Search     string
	Found, All int
}

func (v *visit) releases() error {
	var list []lk1.ReleaseView
	if err := v.get("/v1/releases", nil, &list); err != nil {
		return err
	}
	return v.render("releases", list)
}

// changeRelease stops a roll, or goes on with it.
func (v *visit) changeRelease() error {
	verb := v.r.PathValue("verb")
	if verb != "stop" && verb != "resume" {
		return errNoSuch
	}
	query := url.Values{"name": {v.r.PathValue("name")}, "group": {v.r.PostFormValue("group")}}
	if err := v.ask(http.MethodPost, "/v1/release/"+verb, query, nil, &json.RawMessage{}); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, "/releases", http.StatusSeeOther)
	return nil
}

// peopleView is who may do what.
type peopleView struct {
	Tokens  []admin.Token // for scope admin only
	Clients []client
	Groups  []Group
}

type client struct {
	Name string
	admin.Grant
}

func (v *visit) people() error {
	var view peopleView
	if !v.person.Reach.Whole() { // others' rights are not theirs to know
		return v.render("people", view)
	}
	for name, grant := range v.Clients {
		view.Clients = append(view.Clients, client{name, grant})
	}
	slices.SortFunc(view.Clients, func(a, b client) int { return compare(a.Name, b.Name) })
	if v.OIDC != nil {
		view.Groups = v.OIDC.Groups
	}
	if v.person.May(admin.ScopeAdmin) {
		if err := v.get("/v1/tokens", nil, &view.Tokens); err != nil {
			return err
		}
	}
	return v.render("people", view)
}

// healthView is how the key server is.
type healthView struct {
	Ready string // why nothing is released; empty: all is well
	Trust ledger.Trust
	Now   time.Time
}

func (v *visit) health() error {
	view := healthView{Now: time.Now().UTC()}
	if err := v.Ready(); err != nil {
		view.Ready = err.Error()
	}
	if err := v.get("/v1/trust", nil, &view.Trust); err != nil {
		return err
	}
	return v.render("health", view)
}

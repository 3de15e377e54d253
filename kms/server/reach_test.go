package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/admin"
)

// A bounding is how a route is asked by who administers some machines only.
type bounding struct {
	list string            // query of a list: it must tell of one place, and not of the other
	of   func(place) []any // or the one that it is asked for, written in each way that people write it
	ask  string            // "?who=%", the query, in which % is the one
	body string            // in which % is the one, too
}

func nodeOf(p place) []any {
	id := p.node.NodeID()
	words := strings.Fields(id.Words())
	return []any{id.String(), id.Words(), strings.Join(words, "-"), strings.Join(words[:3], " "), id.String()[:12], "host-" + p.site}
}
func wholeNode(p place) []any { id := p.node.NodeID(); return []any{id.String(), id.Words()} }
func volumeOf(p place) []any  { return []any{p.volume.String(), p.asked.String()} }
func kairosOf(p place) []any  { return []any{p.kairos.Hash()} }
func talosOf(p place) []any   { return []any{p.talos} }

const byWho, byUUID, byHash = "?who=%", "?uuid=%", "?hash=%"

// boundings are the routes that are answered within a reach. A new one has no
// entry, and TestReachOfAllRoutes says so.
var boundings = map[string]bounding{
	"GET /v1/nodes":                 {list: "?"},
	"GET /v1/nodes/page":            {list: "?limit=1000"},
	"GET /v1/node":                  {of: nodeOf, ask: byWho},
	"GET /v1/policy/explain":        {of: nodeOf, ask: byWho},
	"POST /v1/node/approve":         {of: wholeNode, body: `{"who":"%"}`},
	"POST /v1/node/quarantine":      {of: nodeOf, ask: byWho},
	"POST /v1/node/readmit":         {of: nodeOf, ask: byWho},
	"POST /v1/node/accept":          {of: nodeOf, ask: byWho},
	"POST /v1/node/renew":           {of: nodeOf, ask: byWho},
	"POST /v1/node/set":             {of: nodeOf, ask: byWho, body: `{"labels":{"rack":"1"}}`},
	"POST /v1/node/push":            {of: wholeNode, ask: byWho + "&shown=x", body: "a passphrase"},
	"POST /v1/nodes/renew":          {list: "?"},
	"POST /v1/kairos/nodes/renew":   {list: "?"},
	"POST /v1/talos/nodes/renew":    {list: "?"},
	"POST /v1/node/delete":          {of: nodeOf, ask: byWho},
	"POST /v1/node/undelete":        {of: nodeOf, ask: byWho},
	"GET /v1/volumes":               {list: "?"},
	"GET /v1/volumes/page":          {list: "?limit=1000"},
	"GET /v1/volume":                {of: volumeOf, ask: byUUID},
	"POST /v1/volume/put":           {of: volumeOf, ask: byUUID, body: "a passphrase"},
	"POST /v1/volume/accept-header": {of: volumeOf, ask: byUUID},
	"POST /v1/volume/rotate":        {of: volumeOf, ask: byUUID},
	"POST /v1/volume/rotate-abort":  {of: volumeOf, ask: byUUID},
	"POST /v1/volume/delete":        {of: volumeOf, ask: byUUID + "&now=true"},
	"POST /v1/volume/undelete":      {of: volumeOf, ask: byUUID},
	"GET /v1/recoveries":            {list: "?"},
	"GET /v1/recovery":              {of: volumeOf, ask: byUUID},
	"POST /v1/recovery/release":     {of: volumeOf, ask: byUUID, body: `{"reason":"x"}`},
	"GET /v1/audit":                 {list: "?from=1"},
	"GET /v1/audit/search":          {list: "?"},
	"GET /v1/kairos/nodes":          {list: "?"},
	"GET /v1/kairos/nodes/page":     {list: "?limit=1000"},
	"GET /v1/kairos/explain":        {of: kairosOf, ask: byHash},
	"POST /v1/kairos/set":           {of: kairosOf, ask: byHash, body: `{"labels":{"rack":"1"}}`},
	"GET /v1/talos/nodes":           {list: "?"},
	"GET /v1/talos/nodes/page":      {list: "?limit=1000"},
	"GET /v1/talos/explain":         {of: talosOf, ask: byUUID},
	"POST /v1/talos/set":            {of: talosOf, ask: byUUID, body: `{"labels":{"rack":"1"}}`},
	"GET /v1/nodes/watch":           {}, // TestReachOfWatch
}

// init adds the commands to machines of other protocols.
func init() {
	for _, verb := range []string{"approve", "accept", "renew", "quarantine", "readmit", "delete", "undelete"} {
		boundings["POST /v1/kairos/"+verb] = bounding{of: kairosOf, ask: byHash}
		if verb != "accept" {
			boundings["POST /v1/talos/"+verb] = bounding{of: talosOf, ask: byUUID + "&source=127.0.0.0/8"}
		}
	}
}

// Every route says what it is to who administers some machines only, and is
// that: what is not theirs is answered as what there is not.
func TestReachOfAllRoutes(t *testing.T) {
	l := newReach(t)
	whole, bound := l.token("owner", admin.ScopeAdmin), l.bounded("oslo", admin.ScopeAdmin, "site=oslo")
	var document struct {
		Paths map[string]map[string]struct {
			Reach string `json:"x-reach"`
		}
	}
	if _, text := l.asks("GET", "/v1/openapi.json", whole, ""); json.Unmarshal([]byte(text), &document) != nil {
		t.Fatal(text)
	}
	before := l.everything(whole)

	tried := 0
	for path, methods := range document.Paths {
		for method, op := range methods {
			name := strings.ToUpper(method) + " " + path
			b, known := boundings[name]
			switch op.Reach {
			case "whole":
				status, text := l.asks(strings.ToUpper(method), path, bound, "")
				if mark := tellsOf(text, l.cairns); status != http.StatusForbidden || mark != "" || !strings.Contains(text, "all machines") {
					t.Errorf("%s: status %d, tells of %q: %s", name, status, mark, text)
				}
			case "same":
				status, text := l.asks("GET", path, bound, "")
				if _, all := l.asks("GET", path, whole, ""); status != 200 || text != all || tellsOf(text, l.oslo) != "" {
					t.Errorf("%s: status %d, and it is not the same for everybody", name, status)
				}
			case "within":
				if !known {
					t.Errorf("%s is answered within a reach, and this test does not know how: add it to boundings", name)
				}
				tried++
				l.tryList(name, b, bound)
				l.tryOne(name, b, bound)
			default:
				t.Errorf("%s does not say what it is to who administers some machines only: Route.Reaching", name)
			}
		}
	}
	if tried != len(boundings) {
		t.Errorf("%d routes were tried within a reach, the test knows %d", tried, len(boundings))
	}
	if after := l.everything(whole); after != before {
		t.Errorf("who administers Oslo changed something elsewhere:\n%s\nwas\n%s", after, before)
	}
}

// everything is how the machines of the other place stand.
func (l *reachLab) everything(whole string) string {
	l.t.Helper()
	var all strings.Builder
	for _, target := range []string{"/v1/node?who=" + l.cairns.node.NodeID().String(), "/v1/node?who=" + l.cairns.waiting.NodeID().String(), "/v1/volume?uuid=" + l.cairns.volume.String()} {
		_, text := l.asks("GET", target, whole, "")
		all.WriteString(text)
	}
	for _, target := range []string{"/v1/kairos/nodes", "/v1/talos/nodes"} {
		var nodes []json.RawMessage
		_, text := l.asks("GET", target, whole, "")
		if err := json.Unmarshal([]byte(text), &nodes); err != nil {
			l.t.Fatal(err)
		}
		for _, n := range nodes {
			if tellsOf(string(n), l.cairns) != "" {
				all.Write(n)
			}
		}
	}
	return all.String()
}

func (l *reachLab) tryList(name string, b bounding, token string) {
	l.t.Helper()
	if b.list == "" {
		return
	}
	method, path, _ := strings.Cut(name, " ")
	status, text := l.asks(method, path+b.list, token, "")
	if mark := tellsOf(text, l.cairns); status != 200 || mark != "" {
		l.t.Errorf("%s: status %d, tells of %q: %s", name, status, mark, text)
	}
	if tellsOf(text, l.oslo) == "" && method == "GET" {
		l.t.Errorf("%s tells of no machine that is theirs: %s", name, text)
	}
}

// tryOne: what is another's is answered as what there is not, by status and
// by text.
func (l *reachLab) tryOne(name string, b bounding, token string) {
	l.t.Helper()
	if b.of == nil {
		return
	}
	method, path, _ := strings.Cut(name, " ")
	ask := func(one any) (int, string) {
		text := one.(string)
		status, answer := l.asks(method, path+strings.Replace(b.ask, "%", url.QueryEscape(text), 1), token, strings.Replace(b.body, "%", text, 1))
		for _, form := range []string{text, strings.ToLower(text)} {
			answer = strings.ReplaceAll(answer, form, "IT")
		}
		return status, answer
	}
	none := place{site: "nowhere", node: newTPM(l.t), volume: kms.UUID{0xee}, asked: kms.UUID{0xef}, kairos: newSoft(l.t), talos: "6f2b9d0c-0000-4000-8000-0000000000ee"}
	words := func(p place, s string) string { // an error names the whole machine, however it was found
		id := p.node.NodeID()
		return strings.NewReplacer(id.String(), "IT", id.Words(), "IT").Replace(s)
	}
	theirs, unknown := b.of(l.cairns), b.of(none)
	for i := range theirs {
		status, answer := ask(theirs[i])
		wantStatus, want := ask(unknown[i])
		answer, want = words(l.cairns, answer), words(none, want)
		if status != http.StatusNotFound || status != wantStatus || answer != want {
			l.t.Errorf("%s of %q: status %d, %s; of what there is not: status %d, %s", name, theirs[i], status, answer, wantStatus, want)
		}
	}
	if mine := b.of(l.oslo)[0]; method == "GET" {
		if status, answer := ask(mine); status == http.StatusNotFound || status == http.StatusForbidden {
			l.t.Errorf("%s of %q, which is theirs: status %d, %s", name, mine, status, answer)
		}
	}
}

// Names of others' machines make none of their own ambiguous.
func TestReachOfNames(t *testing.T) {
	l := newReach(t)
	bound := l.bounded("oslo", admin.ScopeApprove, "site=oslo")
	change := func(tpm string, name string) {
		if status, text := l.asks("POST", "/v1/node/set?who="+tpm, l.bounded("set-"+name+tpm[:4], admin.ScopeAdmin), `{"labels":{"name":"`+name+`"}}`); status != 200 {
			t.Fatal(text)
		}
	}
	change(l.cairns.node.NodeID().String(), "same")
	change(l.oslo.node.NodeID().String(), "same")
	if status, text := l.asks("GET", "/v1/node?who=same", bound, ""); status != 200 || !strings.Contains(text, l.oslo.node.NodeID().String()) {
		t.Errorf("a name that another's machine has, too: status %d, %s", status, text)
	}
	if status, _ := l.asks("GET", "/v1/node?who=same", l.token("owner", admin.ScopeRead), ""); status != http.StatusConflict {
		t.Errorf("the same, of who administers all: status %d, want 409", status)
	}
}

// Pages of a list have as many as they would if there were no others, and
// their cursors tell of none.
func TestReachOfPages(t *testing.T) {
	l := newReach(t)
	for range 7 {
		l.mustPend(newTPM(t))
	}
	bound := l.bounded("oslo", admin.ScopeRead, "site=oslo")
	var seen []string
	after := ""
	for range 4 {
		var p struct {
			Nodes []struct{ ID string }
			Next  string
		}
		if _, text := l.asks("GET", "/v1/nodes/page?limit=1&after="+after, bound, ""); json.Unmarshal([]byte(text), &p) != nil {
			t.Fatal(text)
		}
		if len(p.Nodes) != 1 {
			t.Fatalf("a page of %d nodes after %q", len(p.Nodes), after)
		}
		seen = append(seen, p.Nodes[0].ID)
		if after = p.Next; after == "" {
			break
		}
		if last := strings.TrimLeft(after, "01"); last != "-" && !slices.Contains(seen, strings.TrimPrefix(last, "-")) {
			t.Errorf("the cursor %s is none of a machine that was told", after)
		}
	}
	if want := []string{l.oslo.waiting.NodeID().String(), l.oslo.node.NodeID().String()}; !slices.Equal(seen, want) {
		t.Errorf("pages have %q, want %q", seen, want)
	}
}

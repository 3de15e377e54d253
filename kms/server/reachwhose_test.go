package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
)

// Who administers some machines takes in one that waits in their network, and
// no other; by approving it, it is theirs.
func TestReachTakesIn(t *testing.T) {
	l := newReach(t)
	l.networks(map[string]string{"oslo": "127.0.0.0/8", "cairns": "192.0.2.0/24"})
	oslo, cairns := l.bounded("oslo", admin.ScopeApprove, "site=oslo"), l.bounded("cairns", admin.ScopeApprove, "site=cairns")
	stranger := newTPM(t)
	if _, err := l.get(stranger, kms.UUID{9}); code(err) != "pending" {
		t.Fatal(err)
	}
	id, words := stranger.NodeID().String(), stranger.NodeID().Words()

	if status, _ := l.asks("POST", "/v1/node/approve", cairns, `{"who":"`+words+`"}`); status != http.StatusNotFound {
		t.Errorf("one in another's network: status %d", status)
	}
	if status, text := l.asks("GET", "/v1/nodes", oslo, ""); status != 200 || !strings.Contains(text, id) {
		t.Errorf("one that waits in their network is not in the list: %s", text)
	}
	if status, text := l.asks("POST", "/v1/node/approve", oslo, `{"who":"`+words+`"}`); status != 200 {
		t.Fatalf("approving one that waits in their network: status %d, %s", status, text)
	}
	n, err := l.Node(id)
	if err != nil || n.Labels["site"] != "oslo" || n.Describe() != "approved" {
		t.Errorf("it has labels %v and is %s, %v", n.Labels, n.Describe(), err)
	}
	if status, _ := l.asks("POST", "/v1/node/quarantine?who="+id, oslo, ""); status != 200 {
		t.Errorf("and now it is not theirs: status %d", status)
	}

	// One that was approved without a label is who administers all machines'.
	other := newTPM(t)
	l.approve(other, kms.UUID{8})
	if status, _ := l.asks("GET", "/v1/node?who="+other.NodeID().String(), oslo, ""); status != http.StatusNotFound {
		t.Errorf("one that is approved, and has no label: status %d", status)
	}
	// One whose label says that it is another's stays so, wherever it asks from.
	if status, _ := l.asks("POST", "/v1/node/approve", oslo, `{"who":"`+l.cairns.waiting.NodeID().Words()+`"}`); status != http.StatusNotFound {
		t.Errorf("one that is another's: status %d", status)
	}
}

// The network of the defaults is everybody's, and says nothing of whose a
// machine is.
func TestReachTakesInByItsOwnNetwork(t *testing.T) {
	l := newReach(t)
	l.SetPolicy(&policy.Policy{Defaults: policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Groups: []policy.Group{{Label: "site", Value: "oslo"}}})
	stranger := newTPM(t)
	l.mustPend(stranger)
	if status, _ := l.asks("GET", "/v1/node?who="+stranger.NodeID().String(), l.bounded("oslo", admin.ScopeRead, "site=oslo"), ""); status != http.StatusNotFound {
		t.Errorf("a machine in everybody's network: status %d", status)
	}
}

// Machines of other protocols are taken in as well.
func TestReachTakesInOthers(t *testing.T) {
	l := newReach(t)
	l.networks(map[string]string{"oslo": "127.0.0.0/8"})
	oslo := l.bounded("oslo", admin.ScopeApprove, "site=oslo")
	soft := newSoft(t)
	refused(t, l.kairosNode(soft), "")
	status, text := l.asks("POST", "/v1/kairos/approve?hash="+soft.Hash(), oslo, "")
	if status != 200 || !strings.Contains(text, `"site":"oslo"`) {
		t.Errorf("approving a node of Kairos: status %d, %s", status, text)
	}
	// One that has not asked cannot be anybody's yet.
	if status, _ := l.asks("POST", "/v1/talos/approve?uuid="+other, oslo, ""); status != http.StatusNotFound {
		t.Errorf("registering a machine of Talos beforehand: status %d", status)
	}
	if status, _ := l.asks("POST", "/v1/node/approve", l.bounded("oslo-admin", admin.ScopeAdmin, "site=oslo"), `{"who":"`+strings.Repeat("ab", 32)+`","no_pcrs":true}`); status != http.StatusNotFound {
		t.Errorf("registering a node beforehand: status %d", status)
	}
}

// Whose a machine is, who administers some cannot change.
func TestReachKeepsLabels(t *testing.T) {
	l := newReach(t)
	l.networks(map[string]string{"oslo": "127.0.0.0/8"})
	oslo, both := l.bounded("oslo", admin.ScopeAdmin, "site=oslo"), l.bounded("both", admin.ScopeAdmin, "site=oslo", "site=cairns")
	stranger := newTPM(t)
	l.mustPend(stranger)
	node, waits := l.oslo.node.NodeID().String(), stranger.NodeID().String()
	for _, row := range []struct {
		name, path, token, labels string
		want                      int
	}{
		{"away", "/v1/node/set?who=" + node, oslo, `"site":"cairns"`, 409},
		{"away, to nobody", "/v1/node/set?who=" + node, oslo, `"site":""`, 409},
		{"in, before it is approved", "/v1/node/set?who=" + waits, oslo, `"site":"oslo"`, 409},
		{"out, before it is approved", "/v1/node/set?who=" + waits, oslo, `"site":"cairns"`, 409},
		{"another label", "/v1/node/set?who=" + node, oslo, `"rack":"7"`, 200},
		{"from one of theirs to another", "/v1/node/set?who=" + node, both, `"site":"cairns"`, 200},
		{"and back, by who administers all", "/v1/node/set?who=" + node, l.token("owner", admin.ScopeAdmin), `"site":"oslo"`, 200},
		{"of Kairos", "/v1/kairos/set?hash=" + l.oslo.kairos.Hash(), oslo, `"site":"cairns"`, 409},
		{"of Talos", "/v1/talos/set?uuid=" + l.oslo.talos, oslo, `"site":""`, 409},
	} {
		if status, text := l.asks("POST", row.path, row.token, `{"labels":{`+row.labels+`}}`); status != row.want {
			t.Errorf("%s: status %d, want %d: %s", row.name, status, row.want, text)
		}
	}
}

// What is another's, or no machine's, is given to nobody by who administers
// some machines, and it is not told what it is.
func TestReachOfVolumes(t *testing.T) {
	l := newReach(t)
	stored := kms.UUID{0x77}
	if err := l.PutVolume(ctx, stored, secret.Own([]byte("for a machine that comes later"))); err != nil {
		t.Fatal(err)
	}
	if _, err := l.get(l.oslo.waiting, l.oslo.asked, stored, l.cairns.volume); code(err) != "pending" {
		t.Fatal(err)
	}
	id := l.oslo.waiting.NodeID()
	oslo := l.bounded("oslo", admin.ScopeAdmin, "site=oslo")
	var n lk1.Node
	if _, text := l.asks("GET", "/v1/node?who="+id.String(), oslo, ""); json.Unmarshal([]byte(text), &n) != nil || tellsOf(strings.ReplaceAll(text, l.cairns.volume.String(), ""), l.cairns) != "" {
		t.Errorf("the node is told as %s", text)
	}
	for _, a := range n.Asks {
		if want := a.UUID != l.oslo.asked; (a.Standing == lk1.Owned) != want || len(a.Others) > 0 {
			t.Errorf("volume %s stands as %+v", a.UUID, a)
		}
	}
	// Naming what is another's, or nobody's, is naming what there is not: the
	// answer is that to a look at any volume that is not theirs.
	_, none := l.asks("GET", "/v1/volume?uuid="+kms.UUID{0xee}.String(), oslo, "")
	for _, uuid := range []kms.UUID{l.cairns.volume, stored} {
		body, _ := json.Marshal(lk1.Approval{Who: id.Words(), Volumes: []kms.UUID{uuid}, Move: true, Secrets: lk1.SecretsKeep})
		status, text := l.asks("POST", "/v1/node/approve", oslo, string(body))
		want := strings.ReplaceAll(none, kms.UUID{0xee}.String(), "IT")
		if got := strings.ReplaceAll(strings.ReplaceAll(text, "binding volume "+uuid.String()+": ", ""), uuid.String(), "IT"); status != http.StatusNotFound || got != want || l.isApproved(l.oslo.waiting) {
			t.Errorf("moving %s, which they do not have: status %d, %s; want %s", uuid, status, got, want)
		}
	}
	body, _ := json.Marshal(lk1.Approval{Who: id.Words(), Seen: n.Seen, Move: true, Secrets: lk1.SecretsKeep})
	status, text := l.asks("POST", "/v1/node/approve", oslo, string(body))
	var out lk1.Approved
	if err := json.Unmarshal([]byte(text), &out); status != 200 || err != nil || len(out.Bound) != 1 || out.Bound[0] != l.oslo.asked || len(out.Moved) > 0 || len(out.Left) != 2 {
		t.Errorf("approving bound %v, moved %v, left %v: status %d, %s", out.Bound, out.Moved, out.Left, status, text)
	}
	body, _ = json.Marshal(lk1.Approval{Who: id.Words(), Volumes: []kms.UUID{stored, {0x78}}})
	if status, text := l.asks("POST", "/v1/node/approve", oslo, string(body)); status != http.StatusConflict || !strings.Contains(text, "does not ask for it") {
		t.Errorf("binding a volume that it does not ask for: status %d, %s", status, text)
	}
	if rows, err := l.VolumesOf(stored); err != nil || rows[0].Bound {
		t.Errorf("the stored passphrase is %+v, %v", rows, err)
	}
}

// What somebody said counts no more when the machine is another's.
func TestReachEndsWords(t *testing.T) {
	for name, row := range map[string]struct {
		to   string
		want bool
	}{"it stays theirs": {"oslo", true}, "it is another's": {"cairns", false}} {
		f, node := needTwo(t)
		label := func(site string) {
			for _, who := range []string{"user carol", "user dave"} {
				if _, err := f.SetNode(by(who), node.NodeID().String(), policy.Change{Labels: map[string]string{"site": site}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		label("oslo")
		alice := admin.As(ctx, admin.Person{Who: "alice", Scope: admin.ScopeApprove, Reach: admin.Reach{"site=oslo"}})
		if out, err := f.ApproveNode(alice, lk1.Approval{Who: node.NodeID().Words(), Seen: mustSeen(f, node)}); err != nil || out.Node.Needs == "" {
			t.Fatalf("one of two: %+v, %v", out, err)
		}
		label(row.to)
		if got := f.approves("user bob", node, asItIs); got != row.want {
			t.Errorf("%s: approved is %v", name, got)
		}
	}
}

// Pages are those of the API: what is another's is on none.
func TestReachOfPagesInABrowser(t *testing.T) {
	l := newReach(t)
	token := strings.TrimPrefix(l.bounded("oslo", admin.ScopeAdmin, "site=oslo"), "Bearer ")
	b := l.browser(nil)
	if status, text := b.post("/sign-in", url.Values{"token": {token}}); status != 200 || !strings.Contains(text, "may admin, machines with site=oslo") {
		t.Fatalf("signing in: status %d, %s", status, text)
	}
	for _, path := range []string{"/machines", "/machines?q=host", "/machines?q=cairns", "/machines/waiting", "/others", "/volumes", "/recovery", "/audit", "/audit.jsonl", "/people", "/health"} {
		status, text := b.get(path)
		if strings.Contains(path, "q=cairns") {
			text = strings.ReplaceAll(text, "cairns", "") // what was looked for
		}
		if mark := tellsOf(text, l.cairns); status != 200 || mark != "" {
			t.Errorf("%s: status %d, tells of %q", path, status, mark)
		}
	}
	if _, text := b.get("/people"); strings.Contains(text, "alice") || strings.Contains(text, "Tokens") {
		t.Error("the page tells who else may administer")
	}
	if _, text := b.get("/machines"); !strings.Contains(text, l.oslo.node.NodeID().String()) || strings.Contains(text, "/releases") {
		t.Error("the list has no machine of theirs, or a link to what is not for them")
	}
	none := newTPM(t).NodeID()
	for _, id := range []kms.NodeID{l.cairns.node.NodeID(), l.cairns.waiting.NodeID()} { // the link of a notice, too
		status, text := b.get("/machines/" + id.String())
		_, want := b.get("/machines/" + none.String())
		if status != http.StatusNotFound || strings.ReplaceAll(text, id.String(), "") != strings.ReplaceAll(want, none.String(), "") {
			t.Errorf("another's page: status %d, %s", status, text)
		}
	}
	if status, _ := b.get("/releases"); status != http.StatusForbidden {
		t.Errorf("/releases: status %d", status)
	}
}

// Certificates have a reach as tokens have; labels that mean nothing are
// refused.
func TestReachOfWhom(t *testing.T) {
	l := newRemoteWith(t, func(_ *remoteLab, o *admin.RemoteOptions) {
		o.Clients = map[string]admin.Grant{"alice": {Scope: admin.ScopeAdmin, Reach: admin.Reach{"site=oslo"}}}
	})
	node := l.approved()
	alice := l.ca.client("alice")
	if got := l.status("GET", "/v1/node?who="+node.NodeID().String(), "", &alice); got != http.StatusNotFound {
		t.Errorf("a certificate for other machines: status %d", got)
	}
	for name, labels := range map[string]admin.Reach{"no label": {"oslo"}, "no value": {"site="}, "twice": {"a=b", "a=b"}, "the protocol": {"protocol=kairos"}, "too many": make(admin.Reach, 33)} {
		if _, err := l.CreateToken(ctx, admin.NewToken{Name: "x", Scope: admin.ScopeRead, Expires: time.Now().Add(time.Hour), Labels: labels}); err == nil {
			t.Errorf("%s: a token was made for %q", name, labels)
		}
	}
}

// A reach is sealed into a session.
func TestReachOfSession(t *testing.T) {
	f := newKMS(t)
	s := admin.Session{Who: "oidc x", Scope: admin.ScopeAdmin, Reach: admin.Reach{"site=oslo"}}
	cookie, err := f.BeginSession(context.Background(), &s, "192.0.2.1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Session(cookie); err != nil || got.Reach.String() != "machines with site=oslo" {
		t.Errorf("the session has reach %q, %v", got.Reach, err)
	}
	var in ledger.Event
	for _, e := range f.log() {
		if e.Event == "sign in" {
			in = e
		}
	}
	if !strings.Contains(in.Detail, "scope admin, machines with site=oslo") {
		t.Errorf("the log says %q", in.Detail)
	}
}

// Hooks with labels are told of machines in reach, of any protocol.
func TestReachOfHooks(t *testing.T) {
	l := newReach(t)
	for name, row := range map[string]struct {
		node string
		want bool
	}{
		"theirs":             {l.oslo.node.NodeID().String(), true},
		"theirs that waits":  {l.oslo.waiting.NodeID().String(), true},
		"theirs of Kairos":   {l.oslo.kairos.Hash(), true},
		"theirs of Talos":    {l.oslo.talos, true},
		"another's":          {l.cairns.node.NodeID().String(), false},
		"another's of Talos": {l.cairns.talos, false},
		"nobody's":           {newTPM(t).NodeID().String(), false},
		"no machine":         {"", false},
	} {
		if got := l.InReach(admin.Reach{"site=oslo"}, row.node); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

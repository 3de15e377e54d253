package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/eventlog/eventlogtest"
	kairoskeeper "latchkey/kms/server/kairos/keeper"
	"latchkey/kms/server/lk1"
	taloskeeper "latchkey/kms/server/talos/keeper"

	sidero "github.com/siderolabs/kms-client/api/kms"

	"latchkey/kms"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/policy"
)

// The document says what the handlers do: every route, every status that
// can be had, every field that is sent or answered.
func TestOpenAPI(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{}, speaksKairos)
	d := readDocument(t, l.fixture)
	tellStory(t, l)
	h := l.AdminHandler()
	askBackups(d, l.fixture, h)
	node, err := l.Nodes()
	if err != nil {
		t.Fatal(err)
	}

	askAll(d, h, node)
	d.checkBodies(h)
	for path, methods := range d.paths {
		for method := range methods {
			if name := strings.ToUpper(method) + " " + path; !d.asked[name][200] && path != "/v1/nodes/watch" {
				t.Errorf("%s was never answered well", name)
			}
		}
	}

	had := map[int]bool{}
	for _, statuses := range d.asked {
		for status := range statuses {
			had[status] = true
		}
	}
	for _, status := range []int{200, 400, 404, 409, 413} { // 401 and 403: TestRemoteScopes; 503: TestRemoteUseThatCannotBeLogged; 500: below
		if !had[status] {
			t.Errorf("no answer had status %d", status)
		}
	}

	var missing []string
	for _, at := range d.unseen() {
		if !slices.ContainsFunc(append(bodies, rare...), func(b string) bool { return strings.HasPrefix(at, b) }) {
			missing = append(missing, at)
		}
	}
	if len(missing) > 0 {
		t.Errorf("in the document, but in no answer: %v", missing)
	}
}

// rare fields need more than the story tells: a certified TPM, an hour of
// silence, labels that bound an operator, several people who must agree, a boot that nothing measures, a secret that another TPM sealed, a live system, a store that others share, a document that was edited or is a cluster's. Their schemas are made
// like all others.
var rare = []string{
	"lk1.Node.vanished", "lk1.Node.back_home", "lk1.Node.back", "lk1.Node.moved_to", "lk1.Handed.needs", "lk1.Handover.with", "admin.Token.maker", "admin.IssuedToken.maker", "admin.Token.labels", "admin.IssuedToken.labels", "lk1.Agreement.", "lk1.Node.agreed", "lk1.Node.needs", "lk1.Undeleted.needs", "policy.Settings.approvals", "ekcert.Certificate.", "lk1.Node.ek_certificate", "lk1.Node.lapsed", "lk1.Node.announced", "policy.Announced.", "lk1.Node.release", "lk1.Node.rolled", "lk1.rolled.", "lk1.ReleaseView.hidden", "lk1.ReleaseView.signed", "lk1.Node.awaits_boot", "lk1.Node.takes_boot", "lk1.Node.unmeasured", "lk1.Approved.warning", "lk1.Approved.sealed", "lk1.Volume.sealed_to", "lk1.Volume.kept", "lk1.Volume.proven", "lk1.Volume.staged_at", "ledger.Step.", "lk1.keptSecret.", "lk1.Volume.forget", "lk1.Volume.older", "lk1.older.", "lk1.Node.older", "kairos.partition.removed", "kairos.Node.lapsed", "kairos.Node.recent_stores", "talos.Node.lapsed", "terms.Explanation.unasked", "rulebook.Applied.needs", "kairos.Node.needs", "talos.Node.needs", "talos.NodePage.next",
	"ledger.Event.server", "ledger.Rekeying.waiting", "ledger.Segment.server", "ledger.Segment.removed", "ledger.ServerLog.server", "kairos.lastShown.legacy", "kairos.lastShown.live", "kairos.volumeDoc.",
	"site.Status.heard", "site.Status.last_gave", "site.Status.refused", "site.Status.trust", "eventlog.Keys.others", "eventlog.Summary.config", "eventlog.Summary.firmware", "eventlog.Summary.kernel", "eventlog.Summary.odd", "eventlog.Measured.text", "lk1.bootLog.refused",
}

// A database that cannot be verified is status 500.
func TestOpenAPIOfDamage(t *testing.T) {
	f := newKMS(t)
	d := readDocument(t, f)
	if err := f.mark().Write(ledger.Position{Epoch: 99}); err != nil {
		t.Fatal(err)
	}
	if status, _ := d.ask(f.AdminHandler(), "GET", "/v1/check", ""); status != http.StatusInternalServerError {
		t.Errorf("a database that was set back: status %d", status)
	}
}

// tellStory makes something of everything.
func tellStory(t *testing.T, l *talosLab) {
	t.Helper()
	node := l.approved()
	l.mustGet(node)
	if got := l.deposit(node, kms.Put, data, blob("sealed")); got != kms.OK {
		t.Fatal(got.Code())
	}
	if err := l.RotateVolume(ctx, data, false); err != nil {
		t.Fatal(err)
	}
	l.report(node, kms.Result{UUID: root, Outcome: kms.OpenedActive, MAC: make([]byte, 32)})
	w, err := policy.ParseWindow("daily 00:00-24:00 UTC")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SetNode(ctx, node.NodeID().String(), policy.Change{Labels: map[string]string{"site": "lab"}, Settings: policy.Settings{
		Silence: ptr(policy.Duration(time.Hour)), Presence: ptr(policy.Duration(time.Hour)), Moved: policy.MovedAllow, PerBoot: ptr(9), PerHour: ptr(9), StoresPerHour: ptr(9), OwnVolumes: ptr(9), Windows: []policy.Window{w}, Outside: policy.OutsideApprove,
		Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Releases: []string{policy.NoRelease}, Accept: []string{"revocations"}, Role: policy.RoleAny, Unmeasured: policy.UnmeasuredAsk, Announce: policy.AnnounceRefuse, AnnounceFor: ptr(policy.Duration(time.Hour)),
	}}); err != nil {
		t.Fatal(err)
	}
	l.mustGet(node)
	tellRecovery(l.fixture, node)
	l.mustBeat(node)
	node.PCRs[12] = [32]byte{1}
	l.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	if _, err := l.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
		t.Fatal(err)
	}
	third := newTPM(t) // shows what it boots
	l.mustPend(boot(third, eventlogtest.Recorded("grub")))
	if _, err := l.ApproveNode(ctx, lk1.Approval{Who: third.NodeID().Words(), Unmeasured: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.get(boot(third, eventlogtest.Recorded("secure"))); code(err) != "pcr-mismatch" {
		t.Fatal(err)
	}

	other := newTPM(t) // pending, and shows another's volume
	l.mustPend(other)
	tellKairos(t, l.fixture)
	m := l.machine()
	_, err = m.Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: diskKey})
	l.wantRefusal("unknown", err)
	l.do("approve", box, netip.MustParsePrefix("127.0.0.0/8"))
	tellTalosTerms(t, l, uuidOf(t, box))
	l.do("quarantine", box)
}

// tellKairos: a node by document that booted something else, and a new one.
func tellKairos(t *testing.T, f *fixture) {
	t.Helper()
	soft := newSoft(t)
	written := strings.Replace(document, "    - label: COS_PERSISTENT\n", "    - label: COS_PERSISTENT\n      deviceName: vda5\n      uuid: 8b7f0000-0000-4000-8000-000000000009\n"+
		"      secret: {name: pass, path: key}\n", 1) + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: pass}\nstringData: {key: a passphrase of the field}\n"
	if err := f.apply(soft, strings.Replace(written, "spec:\n", "spec:\n  attestation: {pcrValues: {pcrs: {\"11\": \"\"}}}\n", 1)); err != nil {
		t.Fatal(err)
	}

	n := f.kairosNode(soft)
	n.Live = true
	must(t, n)
	n.Live = false
	must(t, n)
	tellKairosTerms(t, f, soft, n)
	soft.PCRs[11] = [32]byte{9}
	refused(t, n, "PCR verification failed")
	legacy := f.kairosNode(newSoft(t))
	legacy.Want = kairos.Request{Label: "X", Name: "vdb1", UUID: "8b7f0000-0000-4000-8000-000000000008"}
	refused(t, legacy, "")
	f.kairos("quarantine", soft)
}

// askAll asks every route, well and badly. The order keeps what the next
// ones need.
func askAll(d *document31, h http.Handler, nodes []lk1.Node) {
	d.t.Helper()
	var known, waits lk1.Node
	for _, n := range nodes {
		if n.Describe() == "pending" {
			waits = n
		} else {
			known = n
		}
	}
	who := func(n lk1.Node) string { return "?who=" + url.QueryEscape(n.Words) }
	uuid := func(u kms.UUID) string { return "?uuid=" + u.String() }
	nobody, third := "?who="+strings.Repeat("0", 64), kms.UUID{3}
	ask := func(method, target, body string, want int) {
		d.t.Helper()
		if status, answer := d.ask(h, method, target, body); status != want {
			d.t.Errorf("%s %s: status %d, want %d: %.200s", method, target, status, want, answer)
		}
	}
	for _, path := range []string{
		"/v1/nodes", "/v1/nodes/page?limit=1", "/v1/volumes/page?limit=1", "/v1/kairos/nodes/page?limit=1", "/v1/talos/nodes/page?limit=1", "/v1/volumes", "/v1/trust", "/v1/check", "/v1/backup", "/v1/openapi.json", "/v1/kairos/nodes", "/v1/talos/nodes",
		"/v1/node" + who(known), "/v1/policy/explain" + who(known) + "&operation=get&from=192.0.2.1&at=2026-11-22T22:30:00Z", "/v1/volume" + uuid(root), "/v1/audit?from=1", "/v1/audit/search?limit=3",
	} {
		ask("GET", path, "", 200)
	}
	for _, path := range []string{
		"/v1/volume?uuid=x", "/v1/audit?from=x", "/v1/audit/search?before=x", "/v1/keys?key=UPPER", "/v1/policy/explain" + who(known) + "&at=x",
		"/v1/policy/explain" + who(known) + "&operation=x", "/v1/policy/explain" + who(known) + "&from=x",
	} {
		ask("GET", path, "", 400)
	}
	ask("GET", "/v1/node"+nobody, "", 404)
	ask("POST", "/v1/node/push"+who(waits)+"&shown="+waits.Seen, "a passphrase", 200)
	ask("POST", "/v1/node/push"+who(waits), "a passphrase", 409)
	ask("POST", "/v1/node/approve", `{"who":"`+waits.Words+`"}`, 200)
	ask("POST", "/v1/node/approve", `{"who":"`+waits.Words+`","move":true}`, 200)
	ask("POST", "/v1/node/approve", `{"who":"`+waits.Words+`","move":true,"secrets":"drop","volumes":["`+root.String()+`"]}`, 200)
	ask("POST", "/v1/node/approve", `{"who":"`+waits.Words+`","bind":true,"unmeasured":false,"shown":"`+waits.Seen+`"}`, 200)
	ask("POST", "/v1/node/approve", `{"who":"`+waits.Words+`","shown":"other"}`, 409)
	ask("POST", "/v1/node/approve", `{"who":"x"}`, 409)
	ask("POST", "/v1/node/renew"+who(known), "", 200)
	ask("POST", "/v1/nodes/renew", "", 200)
	ask("GET", "/v1/nodes/page?limit=0", "", 400)
	askReleases(ask, who(known))
	askSites(ask)
	ask("POST", "/v1/node/readmit"+who(known), "", 200)
	ask("POST", "/v1/node/accept"+who(known)+"&unmeasured=true", "", 200)
	ask("POST", "/v1/node/accept"+who(known)+"&unmeasured=x", "", 400)
	ask("POST", "/v1/node/quarantine"+who(known), "", 200)
	ask("POST", "/v1/node/set"+who(known), `{"labels":{"a":"b"}}`, 200)
	ask("POST", "/v1/node/set"+nobody, `{}`, 404)
	ask("POST", "/v1/volume/put"+uuid(third), "a passphrase", 200)
	ask("POST", "/v1/volume/put"+uuid(third), "another", 409)
	ask("POST", "/v1/volume/put"+uuid(third), strings.Repeat("x", 70_000), 413)
	ask("POST", "/v1/volume/rotate"+uuid(root), "", 200)
	ask("POST", "/v1/volume/rotate"+uuid(root), "", 409)
	ask("POST", "/v1/volume/rotate-abort"+uuid(root), "", 200)
	ask("POST", "/v1/volume/accept-header"+uuid(root), "", 200)
	askRecovery(ask, uuid(root))
	askVolumeDeleted(ask, uuid(third))
	ask("POST", "/v1/node/undelete"+who(known), "", 409)
	ask("POST", "/v1/node/delete"+who(known), "", 200)
	ask("POST", "/v1/node/undelete"+who(known), "", 200)
	askHistory(ask)
	askOthers(d, h, ask)
}

// askOthers asks the routes that are not about nodes and volumes.
func askOthers(d *document31, h http.Handler, ask func(method, target, body string, want int)) {
	d.t.Helper()
	hash := func(state string) string { return "?hash=" + d.kairosHash(h, state) }
	for range 2 {
		ask("POST", "/v1/trust/add", "", 200)
	}
	pins := d.pins(h)
	ask("POST", "/v1/trust/use?key="+url.QueryEscape(pins[1]), "", 200)
	ask("POST", "/v1/trust/retire?key="+url.QueryEscape(pins[0]), "", 200)
	ask("POST", "/v1/trust/retire?key=x", "", 400)
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	ask("POST", "/v1/token/create", fmt.Sprintf(`{"name":"t","scope":"read","expires":%q}`, until), 200)
	ask("POST", "/v1/token/create", fmt.Sprintf(`{"name":"t","scope":"read","expires":%q}`, until), 409)
	ask("GET", "/v1/tokens", "", 200)
	ask("POST", "/v1/sessions/end", "", 200)
	ask("POST", "/v1/token/revoke?name=t", "", 200)
	ask("POST", "/v1/token/revoke?name=t", "", 404)
	ask("POST", "/v1/keys/rotate?key=k8s/default", "", 200)
	ask("POST", "/v1/keys/rotate?key=k8s/default", "", 200)
	ask("GET", "/v1/keys?key=k8s/default", "", 200)
	askRetired(ask, url.QueryEscape(pins[0]))
	askTerms(d, h, ask)
	for _, command := range []string{"accept", "readmit", "quarantine", "delete"} {
		ask("POST", "/v1/kairos/"+command+hash("approved"), "", 200)
	}
	ask("POST", "/v1/kairos/approve"+hash("pending"), "", 200)
	ask("POST", "/v1/kairos/undelete"+hash("deleted"), "", 200)
	ask("POST", "/v1/kairos/documents?replace=true", "kind: Nonsense", 400)
	ask("POST", "/v1/kairos/documents", "apiVersion: v1\nkind: Secret\nmetadata: {name: p2}\nstringData: {key: another passphrase}\n", 200)
	for _, command := range []string{"approve", "quarantine", "readmit", "delete", "undelete"} {
		ask("POST", "/v1/talos/"+command+"?uuid="+box+"&source=127.0.0.0/8", "", 200)
	}
	ask("POST", "/v1/talos/approve?uuid="+box+"&source=x", "", 400)
	askTang(d, h, ask)
}

// kairosHash is a node of Kairos in a state.
func (d *document31) kairosHash(h http.Handler, state string) string {
	d.t.Helper()
	var nodes []kairoskeeper.Node
	_, text := get(h, "/v1/kairos/nodes")
	if err := json.Unmarshal(text, &nodes); err != nil {
		d.t.Fatal(err)
	}
	for _, n := range nodes {
		if string(n.State) == state {
			return n.Hash.String()
		}
	}
	d.t.Fatalf("no node of Kairos is %s", state)
	return ""
}

func (d *document31) pins(h http.Handler) []string {
	d.t.Helper()
	var trust ledger.Trust
	_, text := get(h, "/v1/trust")
	if err := json.Unmarshal(text, &trust); err != nil {
		d.t.Fatal(err)
	}
	return trust.KMS
}

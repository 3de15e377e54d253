package server_test

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	sidero "github.com/siderolabs/kms-client/api/kms"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/page"
	"latchkey/kms/server/kairos/kairostest"
	"latchkey/kms/server/policy"
	taloskeeper "latchkey/kms/server/talos/keeper"
	"latchkey/kms/softtpm"
)

// A place is a site with machines of every kind.
type place struct {
	site    string
	node    *softtpm.TPM // approved, with a volume and its recovery key
	volume  kms.UUID
	waiting *softtpm.TPM // waits, and asks for another
	asked   kms.UUID
	kairos  *kairostest.Soft
	talos   string
}

// A reachLab is a key server of two sites, and its pages.
type reachLab struct {
	*remoteLab
	talos        *talosLab
	oslo, cairns place
}

const talosOfOslo, talosOfCairns = "6f2b9d0c-0000-4000-8000-0000000000b1", "6f2b9d0c-0000-4000-8000-0000000000c1"

func newReach(t *testing.T) *reachLab {
	t.Helper()
	l := &reachLab{remoteLab: newPages(t, func(*page.Options) {}, speaksKairos)}
	l.talos = &talosLab{fixture: l.fixture}
	l.Talos.SetOptions(taloskeeper.Options{})
	l.talos.listen(nil)
	l.oslo = l.place("oslo", 0xb0, talosOfOslo)
	l.cairns = l.place("cairns", 0xc0, talosOfCairns)
	return l
}

func (l *reachLab) place(site string, n byte, talos string) place {
	l.t.Helper()
	p := place{site: site, node: newTPM(l.t), volume: kms.UUID{n}, waiting: newTPM(l.t), asked: kms.UUID{n + 1}, kairos: newSoft(l.t), talos: talos}
	labels := policy.Change{Labels: map[string]string{"site": site, "name": "host-" + site}}
	if err := l.PutVolume(ctx, p.volume, secret.Own([]byte(canary))); err != nil {
		l.t.Fatal(err)
	}
	l.approve(p.node, p.volume)
	if _, err := l.get(p.node, p.volume); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.get(p.waiting, p.asked); code(err) != "pending" {
		l.t.Fatal(err)
	}
	for _, tpm := range []*softtpm.TPM{p.node, p.waiting} {
		if _, err := l.SetNode(ctx, tpm.NodeID().String(), labels); err != nil {
			l.t.Fatal(err)
		}
		labels.Labels = map[string]string{"site": site}
	}

	refused(l.t.(*testing.T), l.kairosNode(p.kairos), "")
	if _, err := l.Kairos.Set(ctx, p.kairos.Hash(), labels); err != nil {
		l.t.Fatal(err)
	}
	_, err := l.talos.machine().Seal(context.Background(), &sidero.Request{NodeUuid: talos, Data: diskKey})
	l.talos.wantRefusal("unknown", err)
	if _, err := l.Talos.Set(ctx, uuidOf(l.t.(*testing.T), talos), labels); err != nil {
		l.t.Fatal(err)
	}
	return p
}

// marks are what tells of a place, wherever it is written.
func (p place) marks() []string {
	id, waiting := p.node.NodeID(), p.waiting.NodeID()
	return []string{
		p.site, id.String(), id.Words(), strings.ReplaceAll(id.Words(), " ", "-"), waiting.String(), waiting.Words(),
		p.volume.String(), p.asked.String(), p.kairos.Hash(), p.talos,
	}
}

// bounded is a token for the machines of some labels.
func (l *reachLab) bounded(name string, scope admin.Scope, labels ...string) string {
	l.t.Helper()
	out, err := l.CreateToken(ctx, admin.NewToken{Name: name, Scope: scope, Expires: time.Now().Add(time.Hour), Labels: labels})
	if err != nil {
		l.t.Fatal(err)
	}
	return "Bearer " + out.Secret
}

// asks sends a request with a token, and reads the answer.
func (l *reachLab) asks(method, target, token, body string) (int, string) {
	l.t.Helper()
	if method == "GET" {
		reply, err := l.do(method, target, token, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		defer reply.Body.Close()
		text, err := io.ReadAll(reply.Body)
		if err != nil {
			l.t.Fatal(err)
		}
		return reply.StatusCode, string(text)
	}
	reply := l.postTo(target, token, body)
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return reply.StatusCode, string(text)
}

// tellsOf names what an answer tells of a place.
func tellsOf(text string, p place) string {
	for _, mark := range p.marks() {
		if strings.Contains(text, mark) {
			return mark
		}
	}
	return ""
}

// networks gives groups of the policy networks.
func (l *reachLab) networks(groups map[string]string) {
	var all []policy.Group
	for site, network := range groups {
		all = append(all, policy.Group{Label: "site", Value: site, Settings: policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix(network)}}})
	}
	l.SetPolicy(&policy.Policy{Groups: all})
}

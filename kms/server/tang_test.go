package server_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
)

// behindProxy lets a test say from where it asks.
func behindProxy(f *fixture) { f.front = front.Options{Proxies: here4} }

func (l *tangLab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// A client binds, and recovers. What it asked for is in the audit log.
func TestTang(t *testing.T) {
	l := newTang(t, tangkeeper.Options{})
	sign, exchange := l.advertised("/adv/")
	if len(sign) != 1 || len(exchange) != 1 {
		t.Fatalf("advertised %d and %d keys, want a pair", len(sign), len(exchange))
	}
	if again, _ := l.advertised("/adv"); again[0].Thumbprint() != sign[0].Thumbprint() {
		t.Error("another pair was made when it was asked again")
	}
	l.want("recovery", l.recovers("/rec/", exchange[0], ""), 200)
	l.want("recovery by a signing key", l.recovers("/rec/", sign[0], ""), 403)
	_, other, err := tang.Generate(tang.DefaultCurve)
	l.must(err)
	l.want("a key of nobody's", l.recovers("/rec/", other.Key, ""), 404)
	l.want("no key of a thumbprint", l.statusOf("GET", "/adv/"+exchange[0].Thumbprint()), 404)
	body, _ := request(t, exchange[0])
	var point tang.Key
	l.must(json.Unmarshal(body, &point))
	point.Y = point.X
	body, err = json.Marshal(point)
	l.must(err)
	status, text := l.send("POST", "/rec/"+exchange[0].Thumbprint(), body, "")
	l.want("a point off the curve", status, 400)
	if len(text) > 0 {
		t.Errorf("a refusal says %q", text)
	}
	if got, want := l.logged(), []string{"rotate  ok", "unknown  ok", "recover  ok", "recover  refused no-key"}; !slices.Equal(got, want) {
		t.Errorf("the audit log has %q, want %q", got, want)
	}
	l.restart()
	l.want("recovery after a restart", l.recovers("/rec/", exchange[0], ""), 200)
}

func (l *tangLab) statusOf(method, path string) int {
	l.t.Helper()
	status, _ := l.send(method, path, nil, "")
	return status
}

// Nothing is served that was not switched on.
func TestTangOff(t *testing.T) {
	l := &tangLab{newKMS(t)}
	l.want("advertisement", l.statusOf("GET", "/adv"), 404)
	l.want("recovery", l.statusOf("POST", "/rec/x"), 404)
}

// A rotation hides what there was: who encrypted to it is answered, who
// trusts it learns the new keys, and nobody is told of it any more.
func TestTangRotate(t *testing.T) {
	l := newTang(t, tangkeeper.Options{})
	sign, exchange := l.advertised("/adv")
	l.must(l.Tang.Rotate(ctx, "", tang.DefaultCurve))
	newSign, newExchange := l.advertised("/adv")
	if len(newSign) != 1 || len(newExchange) != 1 || newSign[0].Thumbprint() == sign[0].Thumbprint() || newExchange[0].Thumbprint() == exchange[0].Thumbprint() {
		t.Errorf("advertised after a rotation: %v and %v", newSign, newExchange)
	}
	l.want("the old key", l.recovers("/rec/", exchange[0], ""), 200)
	l.want("the new key", l.recovers("/rec/", newExchange[0], ""), 200)
	l.must(l.Tang.Rotate(ctx, "", "P-256"))
	if _, small := l.advertised("/adv"); small[0].Crv != "P-256" || l.recovers("/rec/", small[0], "") != 200 {
		t.Errorf("on P-256: %+v", small)
	}
	if err := l.Tang.Rotate(ctx, "", "P-1"); err == nil {
		t.Error("a rotation to a curve of nobody's")
	}

	_, text := l.send("GET", "/adv/"+sign[0].Thumbprint(), nil, "")
	var jws struct {
		Payload    string
		Signatures []struct{ Protected, Signature string }
	}
	l.must(json.Unmarshal(text, &jws))
	if len(jws.Signatures) != 2 || !verified(t, sign[0], jws.Signatures[1].Protected, jws.Payload, jws.Signatures[1].Signature) {
		t.Errorf("who trusts the old key cannot verify %s", text)
	}
	l.advertised("/adv/" + sign[0].Thumbprint())
}

// One key is hidden and shown as by a dot before its file's name; a key that
// is retired is gone.
func TestTangHideAndRetire(t *testing.T) {
	l := newTang(t, tangkeeper.Options{})
	sign, exchange := l.advertised("/adv")
	old := exchange[0].Thumbprint()
	if err := l.Tang.Change(ctx, "hide", old, false); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("hiding the last exchange key: %v", err)
	}
	if err := l.Tang.Change(ctx, "retire", old, false); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("retiring a key that is advertised: %v", err)
	}
	l.must(l.Tang.Rotate(ctx, "", tang.DefaultCurve))
	l.must(l.Tang.Change(ctx, "show", old, false))
	if _, now := l.advertised("/adv"); len(now) != 2 {
		t.Errorf("%d exchange keys are advertised, want the old one beside the new one", len(now))
	}
	l.must(l.Tang.Change(ctx, "hide", old, false))
	if _, now := l.advertised("/adv"); len(now) != 1 || now[0].Thumbprint() == old {
		t.Errorf("advertised after hiding: %v", now)
	}
	l.want("a hidden key", l.recovers("/rec/", exchange[0], ""), 200)

	l.must(l.Tang.Change(ctx, "retire", old, false))
	l.want("a retired key", l.recovers("/rec/", exchange[0], ""), 404)
	l.must(l.Tang.Change(ctx, "retire", sign[0].Thumbprint(), false))
	l.want("an advertisement by a retired key", l.statusOf("GET", "/adv/"+sign[0].Thumbprint()), 404)
	for _, command := range []string{"retire", "show", "hide"} {
		if err := l.Tang.Change(ctx, command, old, false); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("%s of a retired key: %v", command, err)
		}
	}
	if err := l.Tang.Change(ctx, "hide", strings.Repeat("A", 43), false); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("hiding a key of nobody's: %v", err)
	}
}

// A client with keys of its own is revoked alone.
func TestTangClients(t *testing.T) {
	l := newTang(t, tangkeeper.Options{}, behindProxy)
	_, everybodys := l.advertised("/adv")
	l.must(l.Tang.New(ctx, "web-7", tang.DefaultCurve, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}))
	l.must(l.Tang.New(ctx, "db-1", tang.DefaultCurve, nil))
	if err := l.Tang.New(ctx, "db-1", tang.DefaultCurve, nil); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("new keys for a client that has some: %v", err)
	}
	for _, name := range []string{"", "UP", "a/b", "-a", "a.", strings.Repeat("a", 64)} {
		if err := l.Tang.New(ctx, name, tang.DefaultCurve, nil); err == nil {
			t.Errorf("New(%q) was taken", name)
		}
	}
	sign, db := l.advertised("/for/db-1/adv")
	if _, now := l.advertised("/adv"); len(db) != 1 || len(now) != 1 || now[0].Thumbprint() != everybodys[0].Thumbprint() {
		t.Error("a client's keys are in everybody's advertisement")
	}
	l.want("a client's advertisement from elsewhere than it may ask from", l.statusOf("GET", "/for/web-7/adv"), 403)
	status, _ := l.send("GET", "/for/web-7/adv", nil, "192.0.2.9")
	l.want("its own", status, 200)

	for _, row := range []struct {
		what, path string
		key        tang.Key
		want       int
	}{
		{"its own key", "/for/db-1/rec/", db[0], 200},
		{"a client's key at everybody's path", "/rec/", db[0], 404},
		{"everybody's key at a client's path", "/for/db-1/rec/", everybodys[0], 404},
		{"another client's key", "/for/web-7/rec/", db[0], 403}, // it asks from elsewhere
		{"a client of nobody's", "/for/db-2/rec/", db[0], 404},
	} {
		l.want(row.what, l.recovers(row.path, row.key, "198.51.100.1"), row.want)
	}
	l.want("another client's key, from where that may ask", l.recovers("/for/web-7/rec/", db[0], "192.0.2.9"), 404)

	l.must(l.Tang.Revoke(ctx, "db-1", true))
	l.want("a revoked client", l.recovers("/for/db-1/rec/", db[0], ""), 404)
	l.want("its advertisement", l.statusOf("GET", "/for/db-1/adv/"+sign[0].Thumbprint()), 404)
	l.want("everybody else", l.recovers("/rec/", everybodys[0], ""), 200)
	if err := l.Tang.Revoke(ctx, "db-1", true); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("revoking it again: %v", err)
	}
	if err := l.Tang.Revoke(ctx, "db-2", true); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("revoking nobody: %v", err)
	}
	l.must(l.Tang.Revoke(ctx, "db-1", false))
	l.want("readmitted", l.recovers("/for/db-1/rec/", db[0], ""), 200)
	l.must(l.Tang.Rotate(ctx, "db-1", tang.DefaultCurve))
	l.want("its hidden key", l.recovers("/for/db-1/rec/", db[0], ""), 200)
	l.must(l.Tang.Revoke(ctx, "db-1", true))
	l.must(l.Tang.Change(ctx, "retire", db[0].Thumbprint(), false))
	if !slices.Contains(l.logged(), "recover db-1 refused revoked") {
		t.Errorf("the revoked client is not in the audit log: %q", l.logged())
	}
}

// Networks and hours hold for all keys.
func TestTangWhereAndWhen(t *testing.T) {
	l := newTang(t, tangkeeper.Options{}, behindProxy)
	_, keys := l.advertised("/adv")
	l.Tang.SetOptions(tangkeeper.Options{Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	l.want("from the network", l.recovers("/rec/", keys[0], "192.0.2.7"), 200)
	l.want("from elsewhere", l.recovers("/rec/", keys[0], "198.51.100.7"), 403)

	now := time.Now().UTC()
	day := func(days int) string {
		return strings.ToLower(now.AddDate(0, 0, days).Weekday().String()[:3])
	}
	for name, want := range map[string]int{day(0) + "," + day(1): 200, day(3): 403} { // midnight may come
		w, err := policy.ParseWindow(name + " 00:00-24:00 UTC")
		l.must(err)
		l.Tang.SetOptions(tangkeeper.Options{Windows: []policy.Window{w}})
		l.want("on "+name, l.recovers("/rec/", keys[0], "192.0.2.7"), want)
		status, _ := l.send("GET", "/adv", nil, "192.0.2.7")
		l.want("advertisement on "+name, status, want)
	}
	if got := l.logged(); !slices.Contains(got, "recover  refused network") || !slices.Contains(got, "recover  refused window") {
		t.Errorf("the audit log has %q", got)
	}
}

// What is advertised of a pair is what jose makes of it: the operations that
// only the private part does are left out.
func TestTangAsJose(t *testing.T) {
	l := newTang(t, tangkeeper.Options{})
	sign, exchange := l.advertised("/adv")
	if !slices.Equal(sign[0].KeyOps, []string{"verify"}) || !slices.Equal(exchange[0].KeyOps, []string{"deriveKey"}) {
		t.Errorf("advertised for %q and %q", sign[0].KeyOps, exchange[0].KeyOps)
	}
}

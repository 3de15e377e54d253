package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
	"latchkey/kms/store"
)

// A source that asks too often is refused, and others are not.
func TestTangTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTang(t, tangkeeper.Options{PerMinute: 3}, inMemory)
		may := func(from string) bool {
			err := l.Tang.Admit(tang.Ask{From: netip.MustParseAddr(from)})
			r, refused := errors.AsType[*tang.Refusal](err)
			if err != nil && (!refused || r.Reason != tang.TooOften) {
				t.Errorf("Admit = %v", err)
			}
			return err == nil
		}
		for i := range 5 {
			if may("2001:db8::1") != (i < 3) {
				t.Errorf("request %d: admitted: %t", i+1, i >= 3)
			}
		}
		if may("2001:db8::2") {
			t.Error("a neighbor in the same /64 was admitted")
		}
		if !may("2001:db8:0:1::1") || !may("192.0.2.1") {
			t.Error("another source was refused")
		}
		time.Sleep(20 * time.Second)
		if !may("2001:db8::2") || may("2001:db8::1") {
			t.Error("after a third of a minute not one of three came back")
		}
	})
}

// What one source leaves in the audit log is bounded: beyond that it is
// answered without a write, and its next event says how many were left out.
func TestTangEventsAreBounded(t *testing.T) {
	count := &counting{}
	l := newTang(t, tangkeeper.Options{PerMinute: 1000}, behindProxy, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			count.Store = st
			return count
		}
	})
	_, keys := l.advertised("/adv")
	keep := l.Tang
	ask := tang.Ask{From: netip.MustParseAddr("192.0.2.7")}
	point, _ := request(t, keys[0])
	with, err := tang.ParseKey(point)
	l.must(err)
	for range 255 {
		if _, err := keep.Recover(ctx, ask, keys[0].Thumbprint(), with); err != nil {
			t.Fatal(err)
		}
	}
	before := count.updates
	if _, err := keep.Recover(ctx, ask, keys[0].Thumbprint(), with); err != nil || count.updates != before {
		t.Errorf("a recovery beyond the bound: %v, %d updates", err, count.updates-before)
	}
	n := 0
	for _, e := range l.log() {
		if e.Event == "tang recover" && e.From == "192.0.2.7" {
			n++
		}
	}
	if n < 250 || n > 252 {
		t.Errorf("%d recoveries are in the audit log, want 250", n)
	}
	l.want("another source", l.recovers("/rec/", keys[0], "192.0.2.8"), 200)
	if got := l.log(); got[len(got)-1].From != "192.0.2.8" {
		t.Errorf("the last event is %+v", got[len(got)-1])
	}
}

// A client that asks from a place where none was is told of, once; with known
// networks, one that asks from elsewhere.
func TestTangUnknown(t *testing.T) {
	l := newTang(t, tangkeeper.Options{}, behindProxy)
	events, stop := l.Listen()
	defer stop()
	unknown := func() (from, detail string) { // it is told before the answer
		for len(events.Events) > 0 {
			if e := <-events.Events; e.Event == "tang unknown" {
				return e.From, e.Detail
			}
		}
		return "", ""
	}
	_, keys := l.advertised("/adv")
	for _, from := range []string{"192.0.2.7", "192.0.2.7", "192.0.2.8"} {
		l.want("recovery", l.recovers("/rec/", keys[0], from), 200)
	}
	for _, want := range []string{"192.0.2.7", "192.0.2.8"} {
		if from, _ := unknown(); from != want {
			t.Errorf("told of %s, want %s", from, want)
		}
	}

	l.Tang.SetOptions(tangkeeper.Options{Known: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	for _, from := range []string{"198.51.100.1", "203.0.113.1", "203.0.113.1"} {
		l.want("recovery", l.recovers("/rec/", keys[0], from), 200)
	}
	if from, detail := unknown(); from != "203.0.113.1" || !strings.Contains(detail, "not in tang.known") {
		t.Errorf("told of %s: %s", from, detail)
	}
	for len(events.Events) > 0 {
		if e := <-events.Events; e.Event == "tang unknown" {
			t.Errorf("and again of %+v", e)
		}
	}
}

// Who seems to ask from everywhere does not fill the audit log.
func TestTangStrangersAreBounded(t *testing.T) {
	l := newTang(t, tangkeeper.Options{})
	_, keys := l.advertised("/adv")
	point, _ := request(t, keys[0])
	with, err := tang.ParseKey(point)
	l.must(err)
	for i := range 600 {
		from := netip.MustParseAddr(fmt.Sprintf("198.51.%d.%d", i/250, i%250))
		if _, err := l.Tang.Recover(ctx, tang.Ask{From: from}, keys[0].Thumbprint(), with); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.logged()); n > 1010 || n < 990 || l.LeftOut() < 190 {
		t.Errorf("%d events of 600 strangers are in the audit log, and %d were left out; want 1,000 and 200", n, l.LeftOut())
	}
}

// changing runs something before the first update of a request that reached
// it.
type changing struct {
	store.Store
	before func()
}

func (c *changing) Update(ctx context.Context, f func(store.Tx) error) error {
	if before := c.before; before != nil {
		c.before = nil
		before()
	}
	return c.Store.Update(ctx, f)
}

// What is revoked or retired while a request is under way gets nothing.
func TestTangRevokedMeanwhile(t *testing.T) {
	c := &changing{}
	l := newTang(t, tangkeeper.Options{}, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			c.Store = st
			return c
		}
	})
	l.must(l.Tang.New(ctx, "db-1", tang.DefaultCurve, nil))
	_, keys := l.advertised("/for/db-1/adv")
	l.want("before", l.recovers("/for/db-1/rec/", keys[0], ""), 200)
	c.before = func() { l.must(l.Tang.Revoke(ctx, "db-1", true)) }
	l.want("revoked meanwhile", l.recovers("/for/db-1/rec/", keys[0], ""), 404)
	l.must(l.Tang.Revoke(ctx, "db-1", false))
	l.must(l.Tang.Rotate(ctx, "db-1", tang.DefaultCurve))
	c.before = func() { l.must(l.Tang.Change(ctx, "retire", keys[0].Thumbprint(), false)) }
	l.want("retired meanwhile", l.recovers("/for/db-1/rec/", keys[0], ""), 404)
}

// On a full disk nothing is answered: a recovery is recorded first.
func TestTangFullDisk(t *testing.T) {
	disk := &full{}
	l := newTang(t, tangkeeper.Options{}, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			disk.Store = st
			return disk
		}
	})
	_, keys := l.advertised("/adv")
	disk.on.Store(true)
	l.want("recovery", l.recovers("/rec/", keys[0], ""), 503)
	disk.on.Store(false)
	l.want("with room again", l.recovers("/rec/", keys[0], ""), 200)
}

// Two servers on one store: what one of them does holds at the other at once.
func TestTangReplicas(t *testing.T) {
	p := newReplicas(t)
	a, b := p.challenges.Tang, p.spent.Tang
	ask := tang.Ask{From: netip.MustParseAddr("192.0.2.7")}
	if _, err := a.Advertise(ctx, ask, ""); err != nil {
		t.Fatal(err)
	}
	keys, err := b.Keys()
	if err != nil || len(keys) != 2 {
		t.Fatalf("the other server has %d keys, %v", len(keys), err)
	}
	at := slices.IndexFunc(keys, func(k tangkeeper.Key) bool { return k.Use == "exchange" })
	_, generated, err := tang.Generate(tang.DefaultCurve)
	if err != nil {
		t.Fatal(err)
	}
	recover := func() error {
		_, err := b.Recover(ctx, ask, keys[at].Thumbprint, generated.Public())
		return err
	}
	if err := recover(); err != nil {
		t.Errorf("recovery at the other server: %v", err)
	}
	if err := a.Rotate(ctx, "", tang.DefaultCurve); err != nil {
		t.Fatal(err)
	}
	before, err := b.Advertise(ctx, ask, "")
	if err != nil {
		t.Fatal(err)
	}
	if now, err := a.Advertise(ctx, ask, ""); err != nil || len(now) != len(before) {
		t.Errorf("advertisements of %d and %d bytes, %v", len(now), len(before), err)
	}
	if err := a.Change(ctx, "retire", keys[at].Thumbprint, false); err != nil {
		t.Fatal(err)
	}
	if err := recover(); err == nil {
		t.Error("the other server still has the key that was retired")
	}
}

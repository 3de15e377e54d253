package server_test

import (
	"context"
	"os"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/site"
	"latchkey/kms/softtpm"
)

// TestSiteQuarantine: what the center stops is gone from the site as soon as
// the site hears of it, with its secrets; one that could not be heard wins
// when the wire is back, and holds when it is cut again at once.
func TestSiteQuarantine(t *testing.T) {
	stops := map[string]func(*siteLab, string) error{
		"quarantine": func(l *siteLab, who string) error { _, err := l.SetQuarantine(ctx, who, true); return err },
		"delete":     func(l *siteLab, who string) error { _, err := l.DeleteNode(ctx, who); return err },
		"other site": func(l *siteLab, who string) error {
			_, err := l.SetNode(ctx, who, policy.Change{Labels: map[string]string{"site": "munich"}})
			return err
		},
		"volume deleted": func(l *siteLab, _ string) error { return l.DeleteVolume(ctx, root, true) },
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			inSite(t, func(t *testing.T, l *siteLab) {
				tpm := l.machine(root, ofBerlin)
				l.cut()
				if err := stop(l, tpm.NodeID().String()); err != nil {
					t.Fatal(err)
				}
				if got := l.gives(tpm); got != "site" {
					t.Errorf("before the site can hear of it, the key came from %s, want site", got)
				}
				l.wire.cut(false)
				l.up()
				l.cut()
				if got := l.gives(tpm); got != "nobody" {
					t.Errorf("after the site heard of it, the key came from %s, want nobody", got)
				}
				if vs, err := l.site.Volumes(); err != nil || len(vs) != 0 {
					t.Errorf("the site still has %v, %v", vs, err)
				}
			})
		})
	}
}

// TestSiteHearsSoon: with the wire up a stop is at the site within a second,
// and an approval, too.
func TestSiteHearsSoon(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		has := func() bool { vs, err := l.site.Volumes(); return err == nil && len(vs) > 0 }
		began := time.Now()
		if _, err := l.SetQuarantine(ctx, tpm.NodeID().String(), true); err != nil {
			t.Fatal(err)
		}
		l.until("the stop is at the site", func() bool { return !has() })
		if took := time.Since(began); took > time.Second {
			t.Errorf("a quarantine took %s to the site", took)
		}
		if _, err := l.SetQuarantine(ctx, tpm.NodeID().String(), false); err != nil {
			t.Fatal(err)
		}
		l.until("it is back", has)
	})
}

// TestSiteRemoved: a site that was removed destroys what it has as soon as it
// hears of it, and gives nothing; another box cannot join by its file.
func TestSiteRemoved(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		if _, err := l.Sites.Remove(ctx, "berlin"); err != nil {
			t.Fatal(err)
		}
		l.until("the site is wiped", func() bool {
			vs, err := l.site.Volumes()
			nodes, failed := l.site.Nodes()
			return err == nil && failed == nil && len(vs)+len(nodes) == 0
		})
		l.wire.cut(true)
		time.Sleep(time.Minute)
		if got := l.gives(tpm); got != "nobody" {
			t.Errorf("a site that was removed gave a key: %s", got)
		}
	})
}

// TestSiteJoinsOnce: the token of a join file is good once, for a day, and
// for its site.
func TestSiteJoinsOnce(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		second := l.join(l.file)
		minute, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		second.Follower.Follow(minute)
		if nodes, err := second.Nodes(); err != nil || len(nodes) != 0 {
			t.Errorf("a second box joined with the same file, and has %v, %v", nodes, err)
		}
		if got := l.gives(tpm); got != "center" {
			t.Errorf("then the first one's key came from %s", got)
		}

		file, err := l.Sites.Add(ctx, site.NewSite{Name: "munich", Labels: map[string]string{"site": "munich"}, Bounds: usualBounds, Center: l.file.Center})
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Check(time.Now().Add(25 * time.Hour)); err == nil {
			t.Error("a join file of yesterday is taken")
		}
	})
}

// TestSiteHasItsOwn: a site holds the machines with its labels, and nothing of
// others: no row, no volume, no secret, whatever it asks for.
func TestSiteHasItsOwn(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		own := l.machine(root, ofBerlin)
		others := []*softtpm.TPM{l.machine(data, map[string]string{"site": "munich"}), l.machine(kms.UUID{3}, nil)}
		waits := newTPM(t)
		l.ask(waits, kms.UUID{4})
		l.up()
		nodes, err := l.site.Nodes()
		if err != nil || len(nodes) != 1 || nodes[0].ID != own.NodeID() {
			t.Errorf("the site has %d machines, %v; want its own", len(nodes), err)
		}
		if vs, err := l.site.Volumes(); err != nil || len(vs) != 1 || vs[0].UUID != root {
			t.Errorf("the site has volumes %v, %v; want its own", vs, err)
		}
		l.cut()
		for i, tpm := range append(others, waits) {
			if got := l.gives(tpm, []kms.UUID{data, {3}, {4}}[i]); got != "nobody" {
				t.Errorf("machine %d of elsewhere got its key from %s", i, got)
			}
		}
	})
}

// TestSiteCannotBeFed: who is not the center, on the wire, is no answer, and
// nothing of it is taken.
func TestSiteCannotBeFed(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		l.cut()
		other := newSiteLab(t, usualBounds) // another center, which has a site berlin, too
		l.wire.lead(other.wire.pipes)
		time.Sleep(time.Minute)
		if got := l.site.Follower.Wire(); got != "cut" {
			t.Errorf("with another server in the center's place the wire is %s, want cut", got)
		}
		if got := l.gives(tpm); got != "site" {
			t.Errorf("then the key came from %s", got)
		}
		l.wire.lead(l.wire.pipes)
		l.up()
	})
}

// TestSitePutBack: a site's server that was put back to an older state is
// noticed by itself, by the mark, and by the center if the mark was put back
// with it; it is not followed any more, and gives nothing.
func TestSitePutBack(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		var old, mark []byte
		l.restart(func() { old, mark = read(t, l.siteFile()), read(t, string(l.site.mark())) })
		l.up()
		l.cut()
		if got := l.gives(tpm); got != "site" {
			t.Fatalf("the key came from %s", got)
		}
		l.wire.cut(false)
		l.up()
		l.restart(func() {
			write(t, l.siteFile(), old)
			if err := l.site.start(); err == nil {
				t.Error("an old database with the mark of today starts")
			}
			write(t, string(l.site.mark()), mark)
		})
		l.until("the center notices", func() bool {
			all, err := l.Sites.List("berlin")
			return err == nil && all[0].State == "refused"
		})
		l.wire.cut(true)
		time.Sleep(time.Minute)
		if got := l.gives(tpm); got != "nobody" {
			t.Errorf("a site that was put back gave a key: %s", got)
		}
	})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSiteClock: no clock makes a site go on for longer: not one that is set
// back while it runs, or while it does not.
func TestSiteClock(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		l.cut()
		time.Sleep(time.Hour)
		l.site.Step(-100 * time.Hour)
		if got := l.gives(tpm); got != "site" {
			t.Errorf("with a clock that was set back while it runs the key came from %s, want site", got)
		}
		time.Sleep(61 * time.Minute)
		if got := l.gives(tpm); got != "nobody" {
			t.Errorf("a clock that was set back makes the site go on: %s", got)
		}
		l.site.Step(100 * time.Hour)
		l.wire.cut(false)
		l.up()
		l.cut()
		time.Sleep(10 * time.Minute)
		l.open(func() {})
		l.site.Step(-5 * time.Hour)
		l.follow()
		l.until("it notices the cut", func() bool { return l.site.Follower.Wire() == "cut" })
		if got := l.gives(tpm); got != "nobody" {
			t.Errorf("a server that starts with a clock that was set back gave a key: %s", got)
		}
		l.site.Step(5 * time.Hour)
		if got := l.gives(tpm); got != "site" {
			t.Errorf("with the clock right again the key came from %s, want site", got)
		}
		l.site.Step(5 * time.Hour)
		if got := l.gives(tpm); got != "nobody" {
			t.Errorf("a clock that was set ahead makes the site go on: %s", got)
		}
	})
}

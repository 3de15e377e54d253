package server_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/policy"
)

// TestSiteBootState: when it is cut off a site gives keys to the boot state
// that the center would give them to, and that had them last; the center
// decides about any other.
func TestSiteBootState(t *testing.T) {
	release := func(retired time.Time) *policy.Policy {
		return &policy.Policy{
			Defaults: policy.Settings{Releases: []string{"2026.12"}},
			Releases: map[string]policy.Release{"2026.12": {PCRs: map[int]policy.Digest{4: {}, 11: {11}}, Retired: retired}},
		}
	}
	for name, of := range map[string]*policy.Policy{"approved": {}, "released": release(time.Time{})} {
		t.Run(name, func(t *testing.T) {
			inSite(t, func(t *testing.T, l *siteLab) {
				l.SetPolicy(of)
				tpm := l.machine(root, ofBerlin)
				l.cut()
				tpm.PCRs[11] = [32]byte{12}
				if _, err := l.ask(tpm); code(err) != "pcr-mismatch" {
					t.Errorf("another kernel got %v, want pcr-mismatch", err)
				}
				tpm.PCRs[11] = [32]byte{11}
				if got := l.gives(tpm); got != "site" {
					t.Errorf("the kernel of before got its key from %s, want site", got)
				}
				if name != "released" {
					return
				}
				tpm.PCRs[4] = [32]byte{4}
				if _, err := l.ask(tpm); code(err) != "pcr-mismatch" {
					t.Errorf("another loader, which the release names, got %v, want pcr-mismatch", err)
				}
				tpm.PCRs[4] = [32]byte{}
				l.wire.cut(false)
				l.up()
				l.SetPolicy(release(time.Now()))
				time.Sleep(time.Minute) // no event tells of the configuration
				l.up()
				l.cut()
				if got := l.gives(tpm); got != "nobody" {
					t.Errorf("a release that was retired got its key from %s", got)
				}
			})
		})
	}
}

// TestSiteKeepsSettings: what the center's configuration says of a machine
// holds at the site, whose own has none of it.
func TestSiteKeepsSettings(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		one := 1
		l.SetPolicy(&policy.Policy{Groups: []policy.Group{{Label: "site", Value: "berlin", Settings: policy.Settings{PerBoot: &one}}}})
		tpm := l.machine(root, ofBerlin)
		l.cut()
		if _, err := l.ask(tpm); code(err) != "refused" {
			t.Errorf("a second release in one boot = %v, want refused", err)
		}
		tpm.Reset++
		if got := l.gives(tpm); got != "site" {
			t.Errorf("the first in the next boot came from %s, want site", got)
		}
		tpm.Reset--
		if _, err := l.ask(tpm); code(err) != "tpm-cleared" {
			t.Errorf("an earlier boot got %v, want tpm-cleared", err)
		}
	})
}

// TestSitePlaces: a site's server is believed where a machine asks from for
// the machines of its site, and for no other.
func TestSitePlaces(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		here := policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}}
		for uuid, labels := range map[kms.UUID]map[string]string{root: ofBerlin, data: {"site": "munich"}} {
			tpm := l.machine(uuid, labels)
			if _, err := l.SetNode(ctx, tpm.NodeID().String(), policy.Change{Settings: here}); err != nil {
				t.Fatal(err)
			}
			_, err := l.ask(tpm, uuid)
			if own := labels["site"] == "berlin"; own && err != nil || !own && code(err) != "refused" {
				t.Errorf("a machine of %s that asks through berlin = %v", labels["site"], err)
			}
		}
	})
}

// TestSiteOnlyGives: a site that is cut off takes no machine on, and nothing
// from one; an operator changes nothing there, whether it is cut off or not.
func TestSiteOnlyGives(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		l.cut()
		c := &kms.Client{Pins: l.site.Pins(), Dial: l.site.pipe.dial}
		want := wants()
		offer := []kms.Offer{{UUID: root, Kind: kms.Static, Secret: secret.Own([]byte("another"))}}
		for _, op := range []kms.Operation{kms.Put, kms.Stage} {
			if _, err := c.Deposit(ctx, l.site.url, tpm, op, want, offer); code(err) != "kms-busy" {
				t.Errorf("%s when cut off = %v, want busy", op, err)
			}
		}
		if err := c.Announce(ctx, l.site.url, tpm, want); code(err) != "kms-busy" {
			t.Errorf("announce when cut off = %v, want busy", err)
		}
		if _, err := l.ask(newTPM(t)); code(err) != "too-often" {
			t.Errorf("an unknown machine gets %v, want too-often: it asks again", err)
		}

		for _, path := range []string{"/v1/node/quarantine", "/v1/node/approve", "/v1/volume/delete", "/v1/trust/add", "/v1/site/add"} {
			if status, _ := post(l.site.AdminHandler(), path+"?who="+tpm.NodeID().String(), nil); status != http.StatusConflict {
				t.Errorf("POST %s at the site has status %d, want 409", path, status)
			}
		}
		if status, _ := get(l.site.AdminHandler(), "/v1/nodes"); status != http.StatusOK {
			t.Errorf("looking at the site's machines has status %d", status)
		}
	})
}

// TestSiteAsksForNothing: a rotation rests while the site is cut off. A machine
// that adds a keyslot marks it with the key that signed the grant, so that no
// other server's grant would end that.
func TestSiteAsksForNothing(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		if err := l.RotateVolume(ctx, root, false); err != nil {
			t.Fatal(err)
		}
		l.up()
		l.cut()
		c := &kms.Client{Pins: l.site.Pins(), Dial: l.site.pipe.dial}
		g, err := c.Get(ctx, l.site.url, tpm, wants())
		if err != nil {
			t.Fatal(err)
		}
		defer g.Wipe()
		if k := g.Volumes[0].Staged.Kind; k != 0 {
			t.Errorf("a site that is cut off gives a staged secret, of kind %d", k)
		}
	})
}

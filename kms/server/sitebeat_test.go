package server_test

import (
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// A site's server passes beats on to the center, which counts them. When it is
// cut off it takes none, as nobody there could count; and a machine that the
// center has seen vanish gets nothing there either.
func TestSitePassesBeatsOn(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		ten := policy.Settings{Presence: ptr(policy.Duration(10 * time.Minute))}
		if _, err := l.SetNode(ctx, tpm.NodeID().String(), policy.Change{Settings: ten}); err != nil {
			t.Fatal(err)
		}
		c := &kms.Client{Pins: l.Pins(), Dial: l.site.pipe.dial}
		node := &softtpm.Beater{TPM: tpm}
		beats, err := c.Register(ctx, l.site.url, node, wants())
		if err != nil {
			t.Fatal(err)
		}
		l.watching(func() {
			for range 30 {
				time.Sleep(time.Minute)
				if err := c.Beat(ctx, l.site.url, node, beats); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := l.ask(tpm); err != nil {
				t.Errorf("a machine that beats got %v", err)
			}
			time.Sleep(15 * time.Minute)
			l.mustSay("vanished")
		})
		l.up()
		l.cut()
		if err := c.Beat(ctx, l.site.url, node, beats); code(err) != "kms-busy" {
			t.Errorf("a beat when cut off = %v, want busy", err)
		}
		if _, err := l.ask(tpm); code(err) != "pending" {
			t.Errorf("a machine that vanished, asked at a site that is cut off: %v, want pending", err)
		}
	})
}

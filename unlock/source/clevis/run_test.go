package clevis_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/clevis"
	"latchkey/unlock/source/clevis/clevistest"
)

// opener opens one volume by the passphrase of boottest's disks.
type opener struct {
	v    unlock.Volume
	open bool
}

func (o *opener) Closed() []*unlock.Volume   { return []*unlock.Volume{&o.v} }
func (o *opener) Needed(*unlock.Volume) bool { return !o.open }

func (o *opener) Try(ctx context.Context, of source.Offer) (errs []error) {
	for _, k := range of.Keys {
		err := k.Err
		if err == nil {
			var all []unlock.Candidate
			if all, err = k.Passphrases(ctx); err == nil && string(all[0].Passphrase.Reveal()) != boottest.Recovery {
				err = errors.New("no keyslot takes it")
			}
		}
		o.open = o.open || err == nil
		errs = append(errs, err)
	}
	return errs
}

// lan has one server; others never answer.
type lan struct {
	at   string
	tang *clevistest.Tang
}

func (l lan) Ask(ctx context.Context, url, _ string, body []byte, take func([]byte) error) error {
	if url != l.at {
		<-ctx.Done()
		return ctx.Err()
	}
	reply, err := l.tang.Recover(body)
	if err != nil {
		return err
	}
	return take(reply)
}

// TestRun: several tokens of one volume, of which one is enough, and nobody
// is asked any more when it is open.
func TestRun(t *testing.T) {
	tang := clevistest.New(elliptic.P256())
	good, dead := tang.Seal("http://a", []byte(boottest.Recovery)), tang.Seal("http://dead", []byte(boottest.Recovery))
	stale := tang.Seal("http://a", []byte("a passphrase that was removed"))
	for _, row := range []struct {
		name   string
		tokens []string
		open   bool
		took   time.Duration
		mine   bool // it has something to do with the volume
	}{
		{"one", []string{good}, true, 0, true},
		{"a dead one first", []string{dead, good}, true, 0, true},
		{"a stale one first", []string{stale, good}, true, 0, true},
		{"only a stale one", []string{stale}, false, 0, true},
		{"only a dead one", []string{dead}, false, time.Minute, true},
		{"none", nil, false, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := boottest.RootDisk()
				for _, message := range row.tokens {
					disk.AddToken(clevistest.Token(message, 1))
				}
				h, err := luks2.Read(disk, int64(len(disk.Bytes)))
				if err != nil {
					t.Fatal(err)
				}
				o := &opener{v: unlock.Volume{Name: "root", Header: h}}
				began := time.Now()
				err = (&clevis.Clevis{Allowed: []string{tang.Thumbprint()}, Wait: time.Minute, Asker: lan{"http://a:80", tang}}).Run(t.Context(), o)
				if o.open != row.open || (err == nil) != row.open || time.Since(began) != row.took || err != nil && errors.Is(err, source.ErrNotMine) == row.mine {
					t.Errorf("open: %t after %s, %v, want %t after %s", o.open, time.Since(began), err, row.open, row.took)
				}
			})
		})
	}
}

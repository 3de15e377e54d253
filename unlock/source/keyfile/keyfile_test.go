package keyfile_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/keyfile"
)

// volume is an Opener with one volume, which a key opens.
type volume struct {
	key  string
	open bool
	v    unlock.Volume
}

func (v *volume) Closed() []*unlock.Volume {
	if v.open {
		return nil
	}
	return []*unlock.Volume{&v.v}
}

func (v *volume) Needed(*unlock.Volume) bool { return !v.open }

func (v *volume) Try(ctx context.Context, o source.Offer) (errs []error) {
	for _, k := range o.Keys {
		all, err := k.Passphrases(ctx)
		if err == nil && string(all[0].Passphrase.Reveal()) != v.key {
			err = codes.Fail(unlock.CodeWrongKey, "%w", luks2.ErrWrongKey)
		}
		v.open = err == nil
		errs = append(errs, err)
	}
	return errs
}

// sticks are what is plugged in, and when.
type sticks map[keyfile.Device]struct {
	after time.Duration
	key   string
}

func (s sticks) source(began time.Time, wait time.Duration) *keyfile.KeyFile {
	return &keyfile.KeyFile{
		Name: "the key file shop.key on LABEL=KEYS", Wait: wait, Log: slog.New(slog.DiscardHandler),
		Devices: func(context.Context) (all []keyfile.Device) {
			for d, stick := range s {
				if time.Since(began) >= stick.after {
					all = append(all, d)
				}
			}
			return all
		},
		Read: func(d keyfile.Device, f keyfile.File) (secret.Bytes, error) {
			if s[d].key == "" {
				return secret.Bytes{}, os.ErrNotExist
			}
			return secret.Own([]byte(s[d].key)), nil
		},
	}
}

func TestRun(t *testing.T) {
	one, other := keyfile.Device{Path: "/dev/sda1"}, keyfile.Device{Path: "/dev/sdb1"}
	for _, row := range []struct {
		name   string
		sticks sticks
		wait   time.Duration
		opens  bool
		least  time.Duration // that Run takes; at most two seconds more
		code   string
	}{
		{"there", sticks{one: {0, "key"}}, time.Minute, true, 0, ""},
		{"plugged in", sticks{one: {20 * time.Second, "key"}}, time.Minute, true, 20 * time.Second, ""},
		{"plugged in, waited for without end", sticks{one: {20 * time.Hour, "key"}}, 0, true, 20 * time.Hour, ""},
		{"too late", sticks{one: {2 * time.Minute, "key"}}, time.Minute, false, time.Minute, keyfile.CodeMissing},
		{"a wrong one first: the search goes on", sticks{one: {0, "another key"}, other: {10 * time.Second, "key"}}, time.Minute, true, 10 * time.Second, ""},
		{"a wrong one alone", sticks{one: {0, "another key"}}, time.Minute, false, time.Minute, keyfile.CodeWrong},
		{"without the file", sticks{one: {0, ""}}, time.Minute, false, time.Minute, keyfile.CodeMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				v := &volume{key: "key"}
				err := row.sticks.source(began, row.wait).Run(t.Context(), v)
				if took := time.Since(began); v.open != row.opens || codes.Of(err) != row.code || took < row.least || took > row.least+2*time.Second {
					t.Errorf("after %s open: %t, %v, want %t, %q after %s", took, v.open, err, row.opens, row.code, row.least)
				}
			})
		})
	}
}

// TestRunAgain: a device whose key opens nothing is asked once, not once a
// second.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stick := keyfile.Device{Path: "/dev/sda1"}
		k := sticks{stick: {0, "another key"}}.source(time.Now(), time.Minute)
		read, reads := k.Read, 0
		k.Read = func(d keyfile.Device, f keyfile.File) (secret.Bytes, error) {
			reads++
			return read(d, f)
		}
		if err := k.Run(t.Context(), &volume{key: "key"}); reads != 1 || !errors.Is(err, luks2.ErrWrongKey) {
			t.Errorf("read %d times, %v, want once and ErrWrongKey", reads, err)
		}
	})
}

// TestImage: a file in the image is there or not; nothing is waited for.
func TestImage(t *testing.T) {
	for _, row := range []struct {
		key, code string
		opens     bool
	}{{"key", "", true}, {"another key", keyfile.CodeWrong, false}, {"", keyfile.CodeMissing, false}} {
		k := sticks{{}: {0, row.key}}.source(time.Now(), 0)
		k.Devices = nil
		v := &volume{key: "key"}
		if err := k.Run(t.Context(), v); codes.Of(err) != row.code || v.open != row.opens {
			t.Errorf("key %q: open: %t, %v, want %t, %q", row.key, v.open, err, row.opens, row.code)
		}
	}
}

package worker_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
)

// TestCiphersComeLast: what the ciphers' self-tests cost would hold up disks
// and links, whose drivers come first; but no driver holds up the ciphers
// for longer than a second.
func TestCiphersComeLast(t *testing.T) {
	for _, row := range []struct {
		name                string
		drivers, disk, want time.Duration
	}{
		{"the disk is found while drivers load", 500 * time.Millisecond, 0, 30 * time.Millisecond},
		{"the drivers are there, the disk is not", 300 * time.Millisecond, time.Minute, 400 * time.Millisecond},
		{"a disk soon after its driver", 300 * time.Millisecond, 350 * time.Millisecond, 380 * time.Millisecond},
		{"a driver that waits for its firmware", time.Minute, time.Minute, 1100 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := boottest.New("kms")
				defer m.End()
				m.Drivers = row.drivers
				if row.disk > 0 {
					d := m.Disks[0]
					m.Disks = nil
					time.AfterFunc(row.disk, func() { m.Plug(d) })
				}

				said, _ := m.RunWorker("", time.Hour)
				for _, r := range said {
					if r.Kind == wire.KindWantCiphers {
						if got := r.Start - boottest.Began; got != row.want {
							t.Errorf("the ciphers were wanted after %s, want %s", got, row.want)
						}
						return
					}
				}
				t.Error("the ciphers were never wanted")
			})
		})
	}
}

// TestNoFailBehindADriver: a disk that its driver finds after the others is
// no disk that is missing.
func TestNoFailBehindADriver(t *testing.T) {
	for _, row := range []struct {
		name          string
		drivers, disk time.Duration
		opened        bool
	}{
		{"while the drivers load", 4 * time.Second, 3 * time.Second, true},
		{"while slow drivers load", 12 * time.Second, 10 * time.Second, true},
		{"the drivers are there", 0, 3 * time.Second, false},
		{"a driver that waits for its firmware", time.Minute, 20 * time.Second, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := boottest.New("kms")
				defer m.End()
				m.Drivers = row.drivers
				d := addData(m, true, "kms")
				m.Disks = m.Disks[:1]
				time.AfterFunc(row.disk, func() { m.Plug(d) })

				said, ended := m.RunWorker("", time.Hour)
				if !ended || boottest.Failure(said) != "" {
					t.Fatalf("no boot:\n%s", strings.Join(m.Log(), "\n"))
				}
				opened := slices.ContainsFunc(said, func(r wire.Record) bool { return r.Kind == wire.KindOpened && r.Name == "data" })
				late := slices.ContainsFunc(said, func(r wire.Record) bool { return r.Kind == wire.KindClosed && r.Code == "drivers-late" })
				if late != (row.drivers == time.Minute) {
					t.Errorf("it is said that drivers still load: %t:\n%s", late, strings.Join(m.Log(), "\n"))
				}
				if opened != row.opened {
					t.Errorf("opened: %t, want %t:\n%s", opened, row.opened, strings.Join(m.Log(), "\n"))
				}
			})
		})
	}
}

package daemon

import (
	"cmp"
	"context"
	"io"
	"time"

	"latchkey/kms/backup"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/metrics"
)

// backups makes the schedule of backups, if there is a place for them.
func (d *Daemon) backups(s *server.Server) *backup.Schedule {
	b := &d.Config.Backup
	if len(b.Places) == 0 {
		return nil
	}
	var at ledger.Position // of the one that is being made
	return &backup.Schedule{
		Maker: backup.Maker{
			Places: b.Places, To: b.Recipients, Keep: b.Keep, Of: backup.OfServer(s.Name()), Scratch: cmp.Or(b.Scratch, d.Home.Data),
			Write: func(w io.Writer) (err error) {
				if at, err = s.Position(); err != nil {
					return err
				}
				return s.Backup(w)
			},
			Judge: s.JudgeCopy,
		},
		Good:  func(ctx context.Context) error { return s.NoteBackup(ctx, at) },
		Every: time.Duration(b.Every), Log: d.log,
	}
}

// backupMetrics are how backups stand.
func backupMetrics(s *backup.Schedule) *metrics.Set {
	set := &metrics.Set{}
	if s == nil {
		return set
	}
	each := func(f func(backup.PlaceStatus) float64) func(func(float64, ...string)) {
		return func(set func(float64, ...string)) {
			for _, p := range s.Status().Places {
				set(f(p), p.Place)
			}
		}
	}
	set.Gauge("latchkey_backup_last_success_timestamp_seconds", "When the newest backup in a place was made, in seconds since 1970; 0 if there is none.", each(func(p backup.PlaceStatus) float64 {
		if p.Name == "" {
			return 0
		}
		return float64(min(p.At.Unix(), time.Now().Unix())) // a clock may have been ahead
	}), "place")
	set.Gauge("latchkey_backup_size_bytes", "Size of the newest backup in a place.", each(func(p backup.PlaceStatus) float64 { return float64(p.Bytes) }), "place")
	set.Gauge("latchkey_backup_failures", "Backups that failed, in whole or in one place, since the start.", func(set func(float64, ...string)) {
		set(float64(s.Status().Failed))
	})
	return set
}

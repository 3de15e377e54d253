package daemon

import (
	"context"
	"fmt"
	"os"
	"time"

	"latchkey/kms/history/archive"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	taloskeeper "latchkey/kms/server/talos/keeper"
	tangkeeper "latchkey/kms/server/tang/keeper"

	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/server"
)

// reloads applies the configuration again whenever hup says so, until ctx
// ends. A wrong one changes nothing.
func (d *Daemon) reloads(ctx context.Context, hup <-chan os.Signal, s *server.Server, f *listeners) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}

		notify("RELOADING=1\n" + monotonicUsec())
		d.reload(s, f)
		for _, pair := range f.pairs {
			pair.Look()
		}
		notify("READY=1")
	}
}

func (d *Daemon) reload(s *server.Server, f *listeners) {
	c, err := d.Reload()
	if err == nil {
		err = fits(c, s)
	}
	if err != nil {
		d.log.Error("configuration not reloaded; nothing was changed", "err", err)
		return
	}
	for _, key := range config.NeedRestart(d.Config, c) {
		d.log.Warn("this key of the configuration takes effect after a restart", "key", key)
	}
	d.warn(c.Warnings())
	apply(c, s)
	d.comparePolicy(c, s)
	if f.remote != nil {
		f.remote.apply(&c.Admin)
	}
	d.level.Set(c.Log.SlogLevel())
	d.log.Info("configuration reloaded", "file", c.File)
}

// warn says what is allowed and doubtful.
func (d *Daemon) warn(lines []string) {
	for _, line := range lines {
		d.log.Warn("this lets others in", "warning", line)
	}
}

// apply hands the server what may change while it runs.
func apply(c *config.Config, s *server.Server) {
	s.SetEKRoots(c.EK.Pool)
	s.SetPolicy(c.Policy.Rules)
	s.SetHistory(historyOf(&c.Audit))
	home.Retain(s, c.Retention)
	s.SetRecipients(c.Recovery.Recipients)
	s.Tang.SetOptions(tangkeeper.Options{
		Sources: config.Prefixes(c.Tang.Sources), Known: config.Prefixes(c.Tang.Known), Windows: c.Tang.Windows, PerMinute: c.Tang.PerMinute,
	})
	if t := &c.Talos; t.Address != "" {
		s.Talos.SetOptions(taloskeeper.Options{
			Enroll: fleet.Enrollment(t.Enroll), Allow: t.UUIDs, Sources: config.Prefixes(t.Sources), BindAddress: t.BindAddress, Noise: t.Noise,
		})
	}
}

// historyOf is what becomes of the audit log.
func historyOf(a *config.Audit) ledger.HistoryOptions {
	o := ledger.HistoryOptions{Every: time.Duration(a.CheckpointEvery), Keep: ledger.Keep{For: time.Duration(a.Keep), Bytes: uint64(a.MaxSize)}}
	if a.Archive != "" {
		o.Archive = archive.Archive{Dir: a.Archive, Zstd: true}
	}
	for _, w := range a.Asked {
		o.Witnesses = append(o.Witnesses, w)
	}
	return o
}

// monotonicUsec is what systemd wants beside RELOADING=1: sd_notify(3).
func monotonicUsec() string { return fmt.Sprintf("MONOTONIC_USEC=%d", monotonic().Microseconds()) }

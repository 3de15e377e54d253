// Package daemon is a key server at work: it opens the KMS, listens, answers,
// reloads its configuration, and tells systemd, monitoring, hooks and the LAN
// that it is there.
package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"latchkey/kms/server/fleet"

	"latchkey/kms/backup"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/server"
	"latchkey/kms/wrapping"
)

// A Daemon is a key server before it runs.
type Daemon struct {
	Home   home.Home
	Config *config.Config
	Reload func() (*config.Config, error) // reads the configuration again
	Out    io.Writer                      // the addresses, once machines are answered
	Errors io.Writer                      // the log

	log      *slog.Logger
	level    slog.LevelVar
	schedule *backup.Schedule // nil: no backups
	givers   []wrapping.Giver // of the shares of the wrapping key
}

// Run answers machines until ctx ends, and reloads on SIGHUP.
func (d *Daemon) Run(ctx context.Context) error {
	hup := make(chan os.Signal, 1) // one that comes while the database is opened ends nothing
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	d.log = newLog(d.Errors, &d.Config.Log, &d.level)
	tune(d.log)
	keys, open, err := d.unwrap(ctx)
	if err != nil && ctx.Err() != nil {
		return nil // stopped while it was sealed
	}
	if err != nil {
		return err
	}
	defer open.close()
	var s *server.Server
	err = slowly("verifying the database", notify, func() (err error) {
		s, err = d.Home.OpenBy(ctx, keys, server.Config{
			Enroll: fleet.Enrollment(d.Config.Enroll), Log: d.log, Protocols: protocolsOf(d.Config.Listen.Protocols()),
			StrictClock: d.Config.Kairos.StrictClock,
		})
		return err
	})
	keys.Wipe()
	if err != nil {
		return err
	}
	defer s.Close()
	d.warn(append(d.Config.Warnings(), d.Home.Warnings()...))

	var others sync.WaitGroup // what must end before the store is closed
	defer others.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := fits(d.Config, s); err != nil {
		return err
	}
	apply(d.Config, s)
	if err := checkSite(d.Config, s); err != nil {
		return err
	}
	d.schedule = d.backups(s)
	s.SetBackups(d.schedule)
	listening, err := newListeners(d.Config, s, open, d.log, d.Out, backupMetrics(d.schedule))
	if err != nil {
		return err
	}
	defer listening.close()
	listening.pairs.client(d.Home.Place, d.log)
	err = whenRoom(ctx, d.log, func() error { return s.Begin(ctx) })
	if err == nil {
		err = whenRoom(ctx, d.log, func() error { return s.Unsealed(ctx, d.givers) })
	}
	if err == nil { // the database may have room of its own while the mark's disk has none
		err = whenRoom(ctx, d.log, s.MarkNow)
	}
	if err != nil && ctx.Err() != nil {
		return nil // stopped while it waited
	}
	if err != nil {
		return err
	}
	return d.answer(ctx, hup, s, listening, &others)
}

// answer listens and serves until ctx ends or a listener fails.
func (d *Daemon) answer(ctx context.Context, hup <-chan os.Signal, s *server.Server, listening *listeners, others *sync.WaitGroup) error {
	hooks, err := d.Config.Hooks.Targets()
	if err != nil {
		return err
	}
	if err := listening.listenFor(ctx, d.Config, s, d.log); err != nil {
		return err
	}
	operator, err := listening.sockets.take(d.Home.Socket(), func() (net.Listener, error) { return openOperator(d.Home.Socket()) })
	if err != nil {
		return err
	}
	defer operator.Close()

	listening.all = append(listening.all, operatorListener(ownersOf(operator, d.Home.AnyMode, d.log), s, d.log))
	listening.serve()
	silence, err := advertise(ctx, d.Config.Advertise, listening.all, d.log)
	if err != nil {
		return err
	}
	defer silence()
	beside(ctx, []task{
		{"seeing whether the store can be written", true, s.Watch},
		{"looking after rolls", true, s.WatchRolls},
		{"looking for machines that vanished", true, s.WatchPresence},
		{"destroying what was deleted", true, s.WatchGraves},
		{"looking after the audit log", true, s.WatchHistory},
		{"looking after the data key", true, s.WatchDataKeys},
		{"reading the configuration again", true, func(ctx context.Context) { d.reloads(ctx, hup, s, listening) }},
		{"telling systemd", false, func(ctx context.Context) { watch(ctx, s.Answers, d.log) }},
		{"looking at certificates", true, listening.pairs.look},
		{"following the policy", true, func(ctx context.Context) { d.followPolicy(ctx, s) }},
		{"making backups", true, d.schedule.Run},
		{"following sites", false, func(ctx context.Context) { followSites(ctx, d.Config, s) }},
		{"following the cluster", false, func(ctx context.Context) { followCluster(ctx, d.Config, d.Home.Place, s, d.log) }},
		{"telling hooks", false, func(ctx context.Context) { tellHooks(ctx, hooks, d.Config.Admin.Page.Address(), s, d.log) }},
	}, listening.failed, others)

	listening.ready.Store(true)
	listening.announce(d.Out)
	notify("READY=1\nSTATUS=answering machines")
	select {
	case err = <-listening.failed:
	case <-ctx.Done():
	}

	notify("STOPPING=1")
	return errors.Join(err, listening.shutdown(d.log))
}

func protocolsOf(all []config.Protocol) (out []server.Protocol) {
	for _, p := range all {
		out = append(out, server.Protocol(p))
	}
	return out
}

// operatorListener answers the operator on the socket.
func operatorListener(l net.Listener, s *server.Server, log *slog.Logger) listener {
	web := &http.Server{
		Handler: s.AdminHandler(), ConnContext: withPeer, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	web.RegisterOnShutdown(s.EndWatches)
	return listener{addr: l.Addr(), what: operators, answering: httpFront{web, l}}
}

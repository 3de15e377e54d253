package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/server"
)

func serveCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer machines",
		Long: `Answers machines until SIGTERM. Plain HTTP is as it should be: the protocol
signs and encrypts what it says. Other latchkey-kms commands work meanwhile.

--config names a file that says all that the flags say, and more; flags win
over it. It is read strictly, and again on SIGHUP: a wrong one changes
nothing and is named in the log.

Enrollment "approve" shows machines that nobody knows to the operator;
"closed" refuses all that were not registered beforehand; "cert" shows only
those whose TPM has a certificate of a vendor in --ek-roots. "tofu" trusts any
machine from the first time it asks (one of Kairos gets a key of its own); it
is for labs.

Protocols: "lk1" is latchkey's own; "kairos" serves the nodes of Kairos as
kcrypt-challenger does, old ones and new ones, on the same port. Use TLS for
it (--tls-cert): that protocol sends passphrases as they are.

--talos-listen serves machines of Talos Linux (sidero.kms.KMSService), with
TLS if there is --tls-cert, else in plain text.

--k8s-socket encrypts the Secrets of a Kubernetes cluster (KMS v2 plugin).

--metrics-listen answers monitoring: /metrics for Prometheus, /healthz, and
/readyz, which fails while keys cannot be released (store away, disk full).

--admin-listen serves the administration over HTTPS to who has a token ("admin
token create") or a client certificate that the configuration lists.

--advertise answers multicast DNS for the KMS on the LANs it stands on; for
other LANs there is latchkey-responder.`,
		Example: `  latchkey-kms serve --listen :7741
  latchkey-kms serve --config /etc/latchkey/kms.yaml
  latchkey-kms serve --listen 192.0.2.5:7741 --enroll closed
  latchkey-kms serve --enroll cert --ek-roots /etc/latchkey/ek
  latchkey-kms serve --advertise kms.local
  latchkey-kms serve --protocol lk1,kairos --tls-cert kms.pem --tls-key kms.key`,
		Args: cli.Args(cobra.NoArgs),
	}

	flags := serveFlags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, os.Interrupt)
		defer stop()
		log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
		return o.serve(ctx, flags, log, c.OutOrStdout())
	}

	return c
}

// overrides put the flags that were given over a configuration.
type overrides func(*config)

// serveFlags adds the flags of serve.
func serveFlags(f *pflag.FlagSet) overrides {
	listen := f.String("listen", fmt.Sprintf(":%d", kms.DefaultPort), "address to listen on")
	enroll := f.String("enroll", string(server.Approve), "what becomes of unknown machines: approve, closed, cert or tofu")
	remote := f.String("admin-listen", "", "address to serve the administration on, over HTTPS, e.g. :7743")
	roots := f.String("ek-roots", "", "folder of TPM vendors' CA certificates and revocation lists, for --enroll cert")
	spoken := f.StringSlice("protocol", []string{string(server.LK1)}, "what machines may speak: lk1, kairos")
	talos := f.String("talos-listen", "", "address to serve machines of Talos Linux on (gRPC), e.g. :4050")
	socket := f.String("k8s-socket", "", "Unix socket to serve a Kubernetes API server on (KMS v2 plugin)")
	metrics := f.String("metrics-listen", "", "address for /metrics (Prometheus), /healthz and /readyz, e.g. 127.0.0.1:9742")
	cert := f.String("tls-cert", "", "PEM certificate of all listeners; lk1 is answered without TLS, too")
	key := f.String("tls-key", "", "PEM key of --tls-cert")
	names := f.StringSlice("advertise", nil, "name to answer for by multicast DNS, ending in .local; repeat it for more")
	flagged := []struct {
		flag, key string
		set       func(*config)
	}{
		{"listen", "listen[0].address", func(c *config) { c.Listen = listenSection{listenerAt(*listen)} }},
		{"admin-listen", "admin.address", func(c *config) { c.Admin.Address = *remote }},
		{"talos-listen", "talos.address", func(c *config) { c.Talos.Address = *talos }},
		{"k8s-socket", "k8s[0].socket", func(c *config) { c.K8s = k8sSection{{Socket: *socket}} }},
		{"metrics-listen", "metrics.address", func(c *config) { c.Metrics.Address = *metrics }},
		{"protocol", "protocol", func(c *config) { c.limitTo(*spoken) }},
		{"tls-cert", "tls", func(c *config) { c.setTLS(tlsConfig{Certificate: *cert, Key: *key}) }},
		{"tls-key", "tls", func(c *config) { c.setTLS(tlsConfig{Certificate: *cert, Key: *key}) }},
		{"enroll", "enroll", func(c *config) { c.Enroll = server.Enrollment(*enroll) }},
		{"ek-roots", "ek.roots", func(c *config) { c.EK.Roots = *roots }},
		{"advertise", "advertise", func(c *config) { c.Advertise = *names }},
	}
	return func(c *config) {
		for _, one := range flagged {
			if f.Changed(one.flag) {
				c.set(one.key, "--"+one.flag)
				one.set(c)
			}
		}
	}
}

// configure reads the configuration, puts the flags over it and judges it.
func (o *options) configure(flags overrides) (*config, error) {
	c, err := readConfig(o.config)
	if err != nil {
		return nil, err
	}

	flags(c)
	if err := c.check(); err != nil {
		return nil, err
	}

	p, err := o.place()
	if err == nil {
		err = c.K8s.checkStore(p.kind)
	}
	if err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: c.locate(err)}
	}

	return c, nil
}

// garbage is GOGC unless the environment has one: what is live is a few
// megabytes, and collecting it often costs a tenth of the processor time.
const garbage = 400

func (o *options) serve(ctx context.Context, flags overrides, log *slog.Logger, out io.Writer) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	c, err := o.configure(flags)
	if err != nil {
		return err
	}

	s, err := o.open(c.Enroll, log, c.Listen.protocols()...)
	if err != nil {
		return err
	}
	defer s.Close()
	var beside sync.WaitGroup // what must end before the store is closed
	defer beside.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c.apply(s)
	if err := s.Begin(ctx); err != nil {
		return err
	}

	front, err := listenFor(ctx, c, s, log)
	if err != nil {
		return err
	}
	defer front.close()
	operator, err := o.listenAdmin()
	if err != nil {
		return err
	}
	defer operator.Close()
	hooks, err := c.Hooks.hooks()
	if err != nil {
		return err
	}

	front.all = append(front.all, backListener(operator, s, log))
	front.serve()
	silence, err := advertise(ctx, c.Advertise, front.first(), log)
	if err != nil {
		return err
	}
	defer silence()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	for _, run := range []func(context.Context){
		s.Watch,
		func(ctx context.Context) { o.watch(ctx, s, log) },
		func(ctx context.Context) { o.followCluster(ctx, c, s, log) },
		func(ctx context.Context) { tellHooks(ctx, hooks, s, log) },
		func(ctx context.Context) { o.reloads(ctx, c, flags, hup, s, front.pairs, log) },
	} {
		beside.Go(func() { run(ctx) })
	}

	front.announce(out)
	notify("READY=1")
	select {
	case err = <-front.failed:
	case <-ctx.Done():
	}

	notify("STOPPING=1")
	return errors.Join(err, front.shutdown(log))
}

// backListener answers the operator on his socket.
func backListener(l net.Listener, s *server.Server, log *slog.Logger) frontListener {
	web := &http.Server{
		Handler: s.AdminHandler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	web.RegisterOnShutdown(s.EndWatches)
	return frontListener{addr: l.Addr(), what: operators, answering: httpFront{web, l}}
}

// listenAdmin opens the operator's socket, mode 0600. The database's lock
// is ours by now, so a socket that is there is of a process that is gone.
func (o *options) listenAdmin() (net.Listener, error) {
	if err := os.Remove(o.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listening for the operator: %w", err)
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", o.socket())
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listening for the operator: %w", err)
	}
	return l, nil
}

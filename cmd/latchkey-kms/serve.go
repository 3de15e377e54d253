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
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/server"
)

// shutdownWait is how long exchanges under way may take to end.
const shutdownWait = 5 * time.Second

func serveCommand(o *options) *cobra.Command {
	var listen, enroll string
	var names, protocols []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer machines",
		Long: `Answers machines until SIGTERM. Plain HTTP is as it should be: the protocol
signs and encrypts what it says. Other latchkey-kms commands work meanwhile.

Enrolment "approve" shows machines that nobody knows to the operator;
"closed" refuses all that were not registered beforehand. "tofu" gives any
machine of Kairos a key of its own the first time it asks, and trusts it from
then on; it is for labs.

Protocols: "lk1" is latchkey's own; "kairos" serves the nodes of Kairos as
kcrypt-challenger does, old ones and new ones, on the same port. Put TLS
before it: that protocol sends passphrases as they are.

--advertise answers multicast DNS for the KMS on the LANs it stands on; for
other LANs there is latchkey-responder.`,
		Example: `  latchkey-kms serve --listen :7741
  latchkey-kms serve --listen 192.0.2.5:7741 --enroll closed
  latchkey-kms serve --advertise kms.local
  latchkey-kms serve --protocol lk1,kairos`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
			return o.serve(ctx, serving{listen, server.Enrollment(enroll), names, protocols}, log, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&listen, "listen", fmt.Sprintf(":%d", kms.DefaultPort), "address to listen on")
	c.Flags().StringVar(&enroll, "enroll", string(server.Approve), "what becomes of unknown machines: approve, closed, or (kairos only) tofu")
	c.Flags().StringSliceVar(&protocols, "protocol", []string{string(server.LK1)}, "what machines may speak: lk1, kairos")
	c.Flags().StringSliceVar(&names, "advertise", nil, "name to answer for by multicast DNS, ending in .local; repeat it for more")
	return c
}

// A serving is how the KMS is to serve.
type serving struct {
	listen    string
	enroll    server.Enrollment
	advertise []string // names
	protocols []string
}

// check answers what the flags got wrong with a usage error.
func (how serving) check() ([]server.Protocol, error) {
	if !slices.Contains([]server.Enrollment{server.Approve, server.Closed, server.Tofu}, how.enroll) {
		return nil, cli.Usagef("--enroll %q: must be approve, closed or tofu", how.enroll)
	}
	var protocols []server.Protocol
	for _, name := range how.protocols {
		p := server.Protocol(name)
		if p != server.LK1 && p != server.Kairos {
			return nil, cli.Usagef("--protocol %q: must be lk1 or kairos", name)
		}
		protocols = append(protocols, p)
	}
	if len(protocols) == 0 {
		return nil, cli.Usagef("--protocol: name one")
	}
	if how.enroll == server.Tofu && !slices.Contains(protocols, server.Kairos) {
		return nil, cli.Usagef("--enroll tofu is for --protocol kairos only")
	}
	return protocols, nil
}

func (o *options) serve(ctx context.Context, how serving, log *slog.Logger, out io.Writer) error {
	protocols, err := how.check()
	if err != nil {
		return err
	}
	s, err := o.open(how.enroll, log, protocols...)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Begin(ctx); err != nil {
		return err
	}
	nodes, err := net.Listen("tcp", how.listen)
	if err != nil {
		return fmt.Errorf("listening for machines: %w", err)
	}
	defer nodes.Close()
	operator, err := o.listenAdmin()
	if err != nil {
		return err
	}
	defer operator.Close()
	front := server.NewHTTP(s, log)
	back := &http.Server{Handler: s.AdminHandler(), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	failed := make(chan error, 2)
	go func() { failed <- front.Serve(server.Limit(nodes)) }()
	go func() { failed <- back.Serve(operator) }()
	silence, err := advertise(ctx, how.advertise, nodes.Addr(), log)
	if err != nil {
		return err
	}
	defer silence()
	fmt.Fprintf(out, "listening on %s\n", nodes.Addr())
	notifyReady()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	return errors.Join(err, front.Shutdown(end), back.Shutdown(end))
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

// notifyReady tells systemd that the service is up: sd_notify(3).
func notifyReady() {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "READY=1")
}

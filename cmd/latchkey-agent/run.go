package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"latchkey/boot/agent"
	"latchkey/internal/cli"
	"latchkey/internal/hosttab"
)

// ready is what run prints when it can be asked.
const ready = "ready"

type runOptions struct {
	network string
	wait    time.Duration
	detach  bool
}

func runCommand(ctx context.Context, stdout io.Writer) *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use: "run", Short: "Fetch the keys of the plan's volumes, latch, and answer",
		Long: `Runs the agent until all keys are given or "latch" ends it. It reads the plan
(/plan.json in the image), and prints "ready" when it can be asked. What it
waits for, and the six words of a machine that is to be approved, are on the
console and in the kernel's log.

With --network own it brings links up by the plan's settings and the kernel's
ip=, and leaves them as they were when all is fetched. With --network given it
waits for links and addresses that others bring.`,
		Example: `  latchkey-agent run --detach --wait 2m`,
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{"own", "given"}, o.network) {
				return &cli.Exit{Code: cli.Usage, Err: errNetwork}
			}
			if o.wait <= 0 {
				return cli.Usagef("--wait is %s, want a time such as 1m", o.wait)
			}
			if o.detach {
				return o.detached()
			}
			return o.run(ctx, stdout)
		},
	}
	f := c.Flags()
	f.StringVar(&o.network, "network", "own", "who brings the network up: own or given")
	f.DurationVar(&o.wait, "wait", defaultWait, "how long systemd-cryptsetup waits for a key before it asks for a passphrase")
	f.BoolVar(&o.detach, "detach", false, "return when the agent can be asked")
	return c
}

// detached starts an agent that outlives this process, and waits until it is
// ready or has said why not.
func (o runOptions) detached() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "run", "--network", o.network, "--wait", o.wait.String())
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != ready+"\n" {
		return errors.Join(errors.New("the agent did not start"), cmd.Wait())
	}
	return cmd.Process.Release()
}

func (o runOptions) run(ctx context.Context, stdout io.Writer) error {
	sys := system(o.network)
	_, cmdline, err := sys.Plan()
	if err != nil {
		return err
	}
	if err := agent.CheckCrypttab(hosttab.Host{Root: "/"}, cmdline); err != nil {
		return err
	}
	a, err := agent.New(sys)
	if err != nil {
		return err
	}
	control, err := agent.Listen(agent.ControlSocket)
	if err != nil {
		return err
	}

	services, stop := context.WithCancel(context.WithoutCancel(ctx)) // until the end of the story
	var all sync.WaitGroup
	all.Go(func() { a.Control(services, control) })
	if err := o.answer(services, a, &all); err != nil {
		stop()
		all.Wait()
		return err
	}
	fmt.Fprintln(stdout, ready)
	err = a.Run(ctx)
	stop()
	all.Wait()
	return err
}

// answer starts all that answers others, by what there is.
func (o runOptions) answer(ctx context.Context, a *agent.Agent, all *sync.WaitGroup) error {
	all.Go(func() { report(a.PassFIFO(ctx, "/proc", agent.AskpassFolder)) })
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil //nolint:nilerr // sd_booted(3): there is no systemd
	}
	sockets, err := a.KeySockets(agent.KeyFolder, agent.KeySocket)
	if err != nil {
		return err
	}
	for _, l := range sockets {
		all.Go(func() { a.ServeKeys(ctx, l, o.wait) })
	}
	all.Go(func() { report(a.AskPassword(ctx, agent.AskFolder)) })
	return nil
}

// report tells of a way to answer that is not there; the others are.
func report(err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		fmt.Fprintln(os.Stderr, "latchkey-agent:", err)
	}
}

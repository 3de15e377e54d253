package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"latchkey/internal/cli"
	"latchkey/kms"
)

// A load is a bench: a KMS in a process of its own, and machines.
type load struct {
	nodes, seconds int
	protocols      []string

	o     *options
	url   string
	talos string // address
	pin   kms.Pin
	child *exec.Cmd
}

// setupLanes is how many machines are set up, and then ask, side by side in
// the steady run: enough that the KMS never waits for them.
const setupLanes = 32

// A fleet is machines that speak one protocol.
type fleet interface {
	// enroll makes machine i known.
	enroll(ctx context.Context, i int) error
	// runs are what its machines can be measured with.
	runs() []workload
}

// A workload is one thing that machines do again and again.
type workload struct {
	name string
	ask  func(ctx context.Context, i int) error
	bare []string // the public-key operations that the KMS must do for it
}

// fleets makes the machines of a protocol, none of them known yet.
var fleets = map[string]func(*load) (fleet, error){"lk1": newLK1Fleet, "kairos": newKairosFleet, "talos": newTalosFleet}

func (b *load) check() error {
	if b.nodes < 1 || b.nodes > 10_000 || b.seconds < 1 || b.seconds > 600 {
		return cli.Usagef("--nodes must be 1 to 10000, --seconds 1 to 600")
	}
	for _, p := range b.protocols {
		if fleets[p] == nil {
			return cli.Usagef("--protocol %q: must be lk1, kairos or talos", p)
		}
	}
	return nil
}

func (b *load) run(ctx context.Context) (*benchResult, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "latchkey-kms-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b.o = &options{data: dir}
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	defer b.stop()
	r := &benchResult{Nodes: b.nodes, Cores: runtime.NumCPU()}
	for _, p := range b.protocols {
		if err := b.measure(ctx, p, r); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}

	r.Bare = bareOperations()
	r.compare()
	return r, nil
}

func (b *load) measure(ctx context.Context, protocol string, r *benchResult) error {
	f, err := fleets[protocol](b)
	if err != nil {
		return err
	}

	if err := b.each(setupLanes, func(i int) error { return f.enroll(ctx, i) }); err != nil {
		return fmt.Errorf("enrolling the machines: %w", err)
	}
	if lk1, ok := f.(*lk1Fleet); ok {
		if r.Burst, err = b.burst(ctx, lk1); err != nil {
			return err
		}
		if r.Answers, err = lk1.answers(ctx); err != nil {
			return err
		}
	}

	for _, one := range f.runs() {
		measured, err := b.steady(ctx, one)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		r.Runs = append(r.Runs, measured)
	}

	return nil
}

// start runs this very program as the KMS.
func (b *load) start(ctx context.Context) error {
	pin, err := b.o.create(ctx)
	if err != nil {
		return err
	}

	if b.pin, err = kms.ParsePin(pin); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}

	args := []string{"serve", "--data", b.o.data, "--listen", "127.0.0.1:0", "--talos-listen", "127.0.0.1:0"}
	if slices.Contains(b.protocols, "kairos") {
		args = append(args, "--protocol", "lk1,kairos")
	}
	b.child = exec.CommandContext(ctx, self, args...)
	out, err := b.child.StdoutPipe()
	if err != nil {
		return err
	}

	if err := b.child.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	for _, one := range []struct {
		prefix string
		to     *string
	}{{"listening on ", &b.url}, {"listening for Talos on ", &b.talos}} {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("starting the KMS: %w", err)
		}
		*one.to = strings.TrimSpace(strings.TrimPrefix(line, one.prefix))
	}

	b.url = "http://" + b.url
	return nil
}

func (b *load) stop() {
	b.child.Process.Signal(syscall.SIGTERM)
	b.child.Wait()
}

// each runs f for all machines, so many at once, and joins a few errors.
func (b *load) each(lanes int, f func(i int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, b.nodes)
	for range lanes {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.nodes; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					failed <- err
				}
			}
		})
	}

	group.Wait()
	close(failed)
	var first []error
	for err := range failed {
		if len(first) < 3 {
			first = append(first, err)
		}
	}

	return errors.Join(first...)
}

// dialer is machine i's: each has an address of its own on loopback, as on
// a LAN, because a KMS limits what one address may do at once.
func dialer(i int) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i))}}
}

// Package bench measures a key server: it starts one in a directory of its
// own and lets machines with software TPMs ask it. The machines protect
// nothing; no key server links them.
package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/operator"
)

// A Load is a bench: a KMS in a process of its own, and machines.
type Load struct {
	KMS       string // the latchkey-kms program
	Nodes     int    // machines
	Seconds   int    // of each steady run
	Protocols []string
	Debian    string // root of a Debian with tang, to compare with; empty: none

	home  home.Home
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
	bare []string                      // the public-key operations that the KMS must do for it
	cpu  func() (time.Duration, error) // who does it; nil: the KMS
}

// fleets makes the machines of a protocol, none of them known yet.
var fleets = map[string]func(*Load) (fleet, error){"lk1": newLK1Fleet, "kairos": newKairosFleet, "talos": newTalosFleet, "tang": newTangFleet, "tang-p256": newTangP256Fleet}

func (b *Load) check() error {
	if b.Nodes < 1 || b.Nodes > 10_000 || b.Seconds < 1 || b.Seconds > 600 {
		return cli.Usagef("--nodes must be 1 to 10000, --seconds 1 to 600")
	}
	for _, p := range b.Protocols {
		if fleets[p] == nil {
			return cli.Usagef("--protocol %q: must be lk1, kairos, talos, tang or tang-p256", p)
		}
	}
	return nil
}

// Run measures. What is wrong in b is a usage error.
func (b *Load) Run(ctx context.Context) (*Result, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "latchkey-kms-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b.home = home.Home{Location: config.Location{Data: dir, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(dir, "kms.db")}}}
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	defer b.stop()
	r := &Result{Nodes: b.Nodes, Cores: runtime.NumCPU()}
	for _, p := range b.Protocols {
		if err := b.measure(ctx, p, r); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}

	r.Bare = bareOperations()
	r.compare()
	return r, nil
}

func (b *Load) measure(ctx context.Context, protocol string, r *Result) error {
	f, err := fleets[protocol](b)
	if err != nil {
		return err
	}

	if c, ok := f.(interface{ close() }); ok {
		defer c.close()
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
	if lk1, ok := f.(*lk1Fleet); ok {
		return b.empty(ctx, lk1, r)
	}
	return nil
}

// start makes a KMS and runs it.
func (b *Load) start(ctx context.Context) error {
	pin, err := b.home.Create(ctx, nil)
	if err != nil {
		return err
	}
	b.pin = pin

	args := []string{"serve", "--data", b.home.Data, "--listen", "127.0.0.1:0", "--talos-listen", "127.0.0.1:0"}
	asked := slices.Clone(b.Protocols)
	if slices.Contains(asked, "tang-p256") {
		asked = append(asked, "tang")
	}
	for _, p := range []string{"kairos", "tang"} {
		if slices.Contains(asked, p) {
			args = append(args, "--protocol", "lk1", "--protocol", p)
		}
	}
	if slices.Contains(asked, "tang") {
		file := filepath.Join(b.home.Data, "bench.yaml")
		if err := os.WriteFile(file, []byte("tang: {per-minute: 1000000}\n"), 0o600); err != nil { // one machine asks for all
			return err
		}
		args = append(args, "--config", file)
	}
	b.child = exec.CommandContext(ctx, b.KMS, args...)
	b.child.Stderr = os.Stderr
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

// call asks the KMS as its operator.
func (b *Load) call(ctx context.Context, method, path string, query url.Values, body, to any) error {
	c, err := operator.Local(ctx, b.home)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(ctx, method, path, query, body, to)
}

func (b *Load) stop() {
	b.child.Process.Signal(syscall.SIGTERM)
	b.child.Wait()
}

// each runs f for all machines, so many at once, and joins a few errors.
func (b *Load) each(lanes int, f func(i int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, b.Nodes)
	for range lanes {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.Nodes; i = int(next.Add(1)) - 1 {
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

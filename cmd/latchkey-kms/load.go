package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/softtpm"
)

// A load is a bench: a KMS in a process of its own, and machines.
type load struct {
	nodes, seconds int

	o     *options
	url   string
	pin   kms.Pin
	child *exec.Cmd
	tpms  []*softtpm.TPM
}

// setupLanes is how many machines are set up, and then ask, side by side in
// the steady run: enough that the KMS never waits for them.
const setupLanes = 32

func (b *load) run(ctx context.Context) (*benchResult, error) {
	if b.nodes < 1 || b.nodes > 1000 || b.seconds < 1 || b.seconds > 600 {
		return nil, cli.Usagef("--nodes must be 1 to 1000, --seconds 1 to 600")
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
	if err := b.enroll(ctx); err != nil {
		return nil, fmt.Errorf("enrolling the machines: %w", err)
	}
	r := &benchResult{Nodes: b.nodes, Cores: runtime.NumCPU()}
	if r.Burst, err = b.burst(ctx); err != nil {
		return nil, err
	}
	if r.Answers, err = b.answers(ctx); err != nil {
		return nil, err
	}
	if r.Challenges, err = b.steady(ctx, b.challengeOnly); err != nil {
		return nil, err
	}
	if r.Exchanges, err = b.steady(ctx, b.get); err != nil {
		return nil, err
	}
	r.Bare = bareOperations()
	return r, nil
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
	b.child = exec.CommandContext(ctx, self, "serve", "--data", b.o.data, "--listen", "127.0.0.1:0")
	out, err := b.child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.child.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("starting the KMS: %w", err)
	}
	b.url = "http://" + strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	return nil
}

func (b *load) stop() {
	b.child.Process.Signal(syscall.SIGTERM)
	b.child.Wait()
}

// enroll makes the machines known: each asks once and is approved.
func (b *load) enroll(ctx context.Context) error {
	b.tpms = make([]*softtpm.TPM, b.nodes)
	return b.each(setupLanes, func(i int) error {
		tpm, err := softtpm.New()
		if err != nil {
			return err
		}
		b.tpms[i] = tpm
		if err := b.get(ctx, i); codeOf(err) != kms.Pending.Code() {
			return fmt.Errorf("a machine that nobody knows got: %w", err)
		}
		q := url.Values{"uuid": {uuidOf(i).String()}}
		var rows []server.Volume
		if err := b.o.call(ctx, "POST", "/v1/volume/put", q, server.GeneratePassphrase().Reveal(), &rows); err != nil {
			return err
		}
		var done server.Approved
		return b.o.call(ctx, "POST", "/v1/node/approve", nil, server.Approval{Who: tpm.NodeID().String()}, &done)
	})
}

func uuidOf(i int) (u kms.UUID) {
	binary.BigEndian.PutUint64(u[8:], uint64(i+1))
	return u
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

// client is machine i's: each has an address of its own on loopback, as on
// a LAN, because a KMS limits what one address may do at once.
func (b *load) client(i int) *kms.Client {
	local := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i))}
	return &kms.Client{Pins: []kms.Pin{b.pin}, Dial: (&net.Dialer{LocalAddr: local}).DialContext}
}

func (b *load) get(ctx context.Context, i int) error {
	g, err := b.client(i).Get(ctx, b.url, b.tpms[i], []kms.Want{{UUID: uuidOf(i)}})
	if err == nil {
		g.Wipe()
	}
	return err
}

// errOpened ends an exchange after the challenge.
var errOpened = errors.New("challenge received")

// deaf is a TPM that stops at the challenge.
type deaf struct{ *softtpm.TPM }

func (deaf) Activate(context.Context, []byte, []byte) (s secretBytes, err error) {
	return s, errOpened
}

func (b *load) challengeOnly(ctx context.Context, i int) error {
	_, err := b.client(i).Get(ctx, b.url, deaf{b.tpms[i]}, []kms.Want{{UUID: uuidOf(i)}})
	if errors.Is(err, errOpened) {
		return nil
	}
	return err
}

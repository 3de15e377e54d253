package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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

// A burst is all machines at once, each retrying as a booting one would.
type burst struct {
	Served  int           `json:"served"`
	Retries int64         `json:"retries"`
	Took    time.Duration `json:"took_ns"`
}

func (b *load) burst(ctx context.Context) (r burst, err error) {
	var retries, served atomic.Int64
	start := time.Now()
	err = b.each(b.nodes, func(i int) error {
		for {
			err := b.get(ctx, i)
			if err == nil {
				served.Add(1)
				return nil
			}
			if c := codeOf(err); c != kms.CodeBusy && c != kms.CodeUnreachable || time.Since(start) > time.Minute {
				return err
			}
			retries.Add(1)
			time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond)
		}
	})
	return burst{int(served.Load()), retries.Load(), time.Since(start)}, err
}

// A rate is a steady run: how much was done, in what time, with how much of
// the KMS' processor time.
type rate struct {
	Done    int64         `json:"done"`
	Took    time.Duration `json:"took_ns"`
	CPU     time.Duration `json:"kms_cpu_ns"`
	PerCore float64       `json:"per_second_and_core"`
}

func (b *load) steady(ctx context.Context, f func(context.Context, int) error) (r rate, err error) {
	before, err := b.cpu()
	if err != nil {
		return r, err
	}
	var done atomic.Int64
	start := time.Now()
	err = b.each(min(setupLanes, b.nodes), func(i int) error {
		for time.Since(start) < time.Duration(b.seconds)*time.Second {
			if err := f(ctx, i); err != nil {
				return err
			}
			done.Add(1)
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	after, err := b.cpu()
	r = rate{Done: done.Load(), Took: time.Since(start), CPU: after - before}
	r.PerCore = float64(r.Done) / r.CPU.Seconds()
	return r, err
}

// cpu is the processor time of the KMS so far: fields 14 and 15 of
// proc_pid_stat(5), in ticks of 10 ms.
func (b *load) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.child.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, io.ErrUnexpectedEOF
	}
	var ticks int64
	for _, field := range fields[11:13] {
		var n int64
		if _, err := fmt.Sscan(field, &n); err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

func codeOf(err error) string {
	if coded, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return coded.Code()
	}
	return ""
}

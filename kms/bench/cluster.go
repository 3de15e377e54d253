package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/home"
)

// A Cluster is a bench of key servers that share an etcd: each is a process
// with an amount of processor time of its own, and reaches etcd over a wire
// with a round trip.
type Cluster struct {
	KMS     string
	Servers []int           // how many, in each run
	Trips   []time.Duration // round trips to etcd
	CPU     float64         // of a core, for each server; 0 is no limit
	Lanes   int             // machines that ask at once at each server
	Nodes   int
	Seconds int
}

// A ClusterRun is what so many servers did.
type ClusterRun struct {
	Servers   int            `json:"servers"`
	Trip      time.Duration  `json:"round_trip_ns"`
	PerSecond float64        `json:"releases_per_second"`
	Times     percentiles    `json:"times"`
	CPU       time.Duration  `json:"kms_cpu_ns"`
	Errors    map[string]int `json:"errors,omitempty"` // by code
	Commits   float64        `json:"commits_per_second"`
	Conflicts float64        `json:"conflicts_percent"`
	Rows      float64        `json:"rows_written_per_second"`
	Compared  int            `json:"compared_per_commit"`
	Written   int            `json:"written_per_commit"`
	Bare      float64        `json:"etcd_commits_per_second"` // of so many rows, by as many clients
}

func (c *Cluster) check() error {
	for _, n := range c.Servers {
		if n < 1 || n > 16 {
			return cli.Usagef("--servers must be 1 to 16")
		}
	}
	if c.Nodes < 1 || c.Nodes > 10_000 || c.Seconds < 1 || c.Seconds > 600 || c.Lanes < 1 || c.Lanes > 10_000 || c.CPU < 0 {
		return cli.Usagef("--nodes must be 1 to 10000, --seconds 1 to 600, --lanes 1 to 10000, --cpu 0 or more")
	}
	return nil
}

// Run measures each number of servers over each round trip.
func (c *Cluster) Run(ctx context.Context, w io.Writer) (runs []ClusterRun, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	for _, trip := range c.Trips {
		for _, n := range c.Servers {
			r, err := c.one(ctx, n, trip)
			if err != nil {
				return runs, fmt.Errorf("%d servers, round trip %v: %w", n, trip, err)
			}
			runs = append(runs, r)
			r.print(w)
		}
	}
	return runs, nil
}

func (r ClusterRun) print(w io.Writer) {
	fmt.Fprintf(w, "%d on one etcd, round trip %v: %.0f releases per second; %v; %v of their processor time\n",
		r.Servers, r.Trip, r.PerSecond, r.Times, r.CPU.Round(10*time.Millisecond))
	fmt.Fprintf(w, "  %.0f transactions per second of %d compared and %d written rows, %.2f %% conflicts; etcd does %.0f of these: ratio %.2f\n",
		r.Commits, r.Compared, r.Written, r.Conflicts, r.Bare, r.Commits/max(r.Bare, 1))
	for code, n := range r.Errors {
		fmt.Fprintf(w, "  %d times: %s\n", n, code)
	}
}

// A member is one key server.
type member struct {
	*Load
	metrics string // address
	group   *cpuGroup
}

// one makes a cluster and measures it.
func (c *Cluster) one(ctx context.Context, n int, trip time.Duration) (r ClusterRun, err error) {
	dir, err := os.MkdirTemp("", "latchkey-kms-bench")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	etcd, err := startEtcd(ctx, filepath.Join(dir, "etcd"))
	if err != nil {
		return r, err
	}
	defer etcd.stop()

	var members []*member
	defer func() {
		for _, m := range members {
			m.stop()
			m.group.remove()
		}
	}()
	for i := range n {
		wire, err := newWire(ctx, etcd.address, trip)
		if err != nil {
			return r, err
		}
		defer wire.Close()
		m, err := c.member(ctx, dir, i, wire.Addr().String())
		if err != nil {
			return r, err
		}
		members = append(members, m)
	}

	fleet := &lk1Fleet{b: members[0].Load}
	if fleet.tpms = softTPMs(c.Nodes); fleet.tpms == nil {
		return r, errors.New("making the machines' keys")
	}
	if err := members[0].each(setupLanes, func(i int) error { return fleet.approve(ctx, i) }); err != nil {
		return r, fmt.Errorf("enrolling the machines: %w", err)
	}
	for i, m := range members {
		if m.group, err = limitCPU(fmt.Sprintf("%d-%d", os.Getpid(), i), m.child.Process.Pid, c.CPU); err != nil {
			return r, err
		}
	}
	if r, err = c.measure(ctx, members, fleet.tpms); err != nil {
		return r, err
	}
	r.Trip = trip
	r.Bare, err = etcd.bare(ctx, n, trip, r.Compared, r.Written, time.Duration(c.Seconds)*time.Second)
	return r, err
}

// member makes a key server: the first one makes the KMS, the others join.
func (c *Cluster) member(ctx context.Context, dir string, i int, etcd string) (*member, error) {
	m := &member{Load: &Load{KMS: c.KMS, Nodes: c.Nodes, Seconds: c.Seconds}}
	m.home = home.Home{Location: config.Location{
		Data: filepath.Join(dir, fmt.Sprint(i)), Wrapping: config.Wrapping{Key: filepath.Join(dir, "wrapping.key")},
		Place: config.Place{Kind: config.Etcd, Endpoints: []string{"http://" + etcd}, Prefix: "latchkey"},
	}}
	if i == 0 {
		if _, err := m.home.Create(ctx, nil); err != nil {
			return nil, err
		}
	} else if _, _, err := m.home.Join(ctx, false); err != nil {
		return nil, err
	}

	m.child = command(ctx, c.KMS, "serve", "--data", m.home.Data, "--wrapping-key", filepath.Join(dir, "wrapping.key"),
		"--store", "etcd:http://"+etcd+"/latchkey", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
	m.child.Stderr = nil // a line for each decision
	out, err := m.child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.child.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	for m.url == "" || m.metrics == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("starting a key server: %w", err)
		}
		line = strings.TrimSpace(line)
		if at, ok := strings.CutPrefix(line, "listening on "); ok {
			m.url = "http://" + at
		}
		if at, ok := strings.CutPrefix(line, "listening for metrics on "); ok {
			m.metrics = "http://" + at + "/metrics"
		}
	}
	var trust struct{ KMS []string }
	if err := m.call(ctx, "GET", "/v1/trust", nil, nil, &trust); err != nil {
		return nil, err
	}
	m.pin, err = kms.ParsePin(trust.KMS[0])
	return m, err
}

// measure lets machines ask at all servers.
func (c *Cluster) measure(ctx context.Context, members []*member, tpms tpms) (r ClusterRun, err error) {
	r = ClusterRun{Servers: len(members), Errors: map[string]int{}}
	before, err := total(members)
	if err != nil {
		return r, err
	}
	var done atomic.Int64
	var took times
	var mu sync.Mutex
	var group sync.WaitGroup
	start := time.Now()
	lanes := c.Lanes * len(members)
	for lane := range lanes {
		n := len(members)
		fleet := &lk1Fleet{b: members[lane%n].Load, tpms: tpms}
		own := (c.Nodes - lane%n + n - 1) / n // machines that ask at this server, and at no other meanwhile
		group.Go(func() {
			for i := lane / n; time.Since(start) < time.Duration(c.Seconds)*time.Second; i += c.Lanes {
				began := time.Now()
				if err := fleet.get(ctx, lane%n+i%own*n); err != nil {
					mu.Lock()
					r.Errors[nameOf(err)]++
					mu.Unlock()
					continue
				}
				done.Add(1)
				took.add(time.Since(began))
			}
		})
	}
	group.Wait()
	seconds := time.Since(start).Seconds()
	after, err := total(members)
	r.PerSecond, r.Times, r.CPU = float64(done.Load())/seconds, took.percentiles(), after.cpu-before.cpu
	commits := after.commits - before.commits
	r.Commits, r.Rows = commits/seconds, (after.written-before.written)/seconds
	r.Conflicts = 100 * (after.conflicts - before.conflicts) / max(commits, 1)
	r.Compared = int((after.compared - before.compared) / max(commits, 1))
	r.Written = int((after.written - before.written) / max(commits, 1))
	return r, err
}

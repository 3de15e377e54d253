package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"latchkey/kms/softtpm"
)

// command is a program that ends with this one.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// An engine is an etcd of our own.
type engine struct {
	address string
	child   *exec.Cmd
}

// startEtcd runs etcd, on stable storage, and waits until it answers.
func startEtcd(ctx context.Context, dir string) (*engine, error) {
	if _, err := exec.LookPath("etcd"); err != nil {
		return nil, fmt.Errorf("needs etcd: PATH=$(images/etcd):$PATH: %w", err)
	}
	address, peer := freeAddress(), freeAddress()
	e := &engine{address, command(ctx, "etcd", "--data-dir", dir, "--listen-client-urls", "http://"+address, "--advertise-client-urls", "http://"+address,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "default=http://"+peer,
		"--log-level", "error", "--logger", "zap")}
	e.child.Stderr = nil
	if err := e.child.Start(); err != nil {
		return nil, err
	}
	client, err := e.client(e.address)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ready, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := client.Get(ready, "ready"); err != nil {
		e.stop()
		return nil, fmt.Errorf("starting etcd: %w", err)
	}
	return e, nil
}

func (e *engine) client(address string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{"http://" + address}, Logger: zap.NewNop()})
}

func (e *engine) stop() {
	e.child.Process.Kill()
	e.child.Wait()
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

// bareValue is the size of a row, in bytes: an audit event with its hash.
const bareValue = 450

// bare is how many transactions etcd does that compare and write so many
// rows, one after the other for each of some clients, none of which has
// rows in common with another.
func (e *engine) bare(ctx context.Context, clients int, trip time.Duration, compared, written int, long time.Duration) (float64, error) {
	var group sync.WaitGroup
	var done atomic.Int64
	failed := make(chan error, clients)
	start := time.Now()
	for c := range clients {
		wire, err := newWire(ctx, e.address, trip)
		if err != nil {
			return 0, err
		}
		defer wire.Close()
		client, err := e.client(wire.Addr().String())
		if err != nil {
			return 0, err
		}
		defer client.Close()
		group.Go(func() {
			for n := 0; time.Since(start) < long; n++ {
				var ifs []clientv3.Cmp
				for i := range compared {
					ifs = append(ifs, clientv3.Compare(clientv3.CreateRevision(fmt.Sprintf("bare/%d/read/%d", c, i)), "=", 0))
				}
				var ops []clientv3.Op
				for i := range written {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("bare/%d/%d", c, n*written+i), strings.Repeat("v", bareValue)))
				}
				if _, err := client.Txn(ctx).If(ifs...).Then(ops...).Commit(); err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	group.Wait()
	close(failed)
	return float64(done.Load()) / time.Since(start).Seconds(), <-failed
}

// newWire passes connections on, each byte half a round trip late.
func newWire(ctx context.Context, to string, trip time.Duration) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go late(far, near, trip/2)
			go late(near, far, trip/2)
		}
	}()
	return l, nil
}

// late copies what comes, so much later; what comes meanwhile is on its way,
// too.
func late(to, from net.Conn, by time.Duration) {
	type parcel struct {
		due  time.Time
		data []byte
	}
	way := make(chan parcel, 4096)
	go func() {
		defer to.Close()
		for p := range way {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				break
			}
		}
		for range way {
		}
	}()
	defer close(way)
	for {
		b := make([]byte, 64<<10)
		n, err := from.Read(b)
		if n > 0 {
			way <- parcel{time.Now().Add(by), b[:n]}
		}
		if err != nil {
			return
		}
	}
}

// A cpuGroup bounds processes' processor time: cgroup v1's cpu controller,
// or v2's.
type cpuGroup struct{ dir string }

// period is the time over which processor time is counted: short, so that
// who has used his up does not wait long.
const period = 10 * time.Millisecond

// limitCPU gives a process so much of a core; zero is no limit.
func limitCPU(name string, pid int, cores float64) (*cpuGroup, error) {
	if cores == 0 {
		return nil, nil
	}
	quota := int64(cores * float64(period.Microseconds()))
	for root, files := range map[string]map[string]string{
		"/sys/fs/cgroup/cpu": {"cpu.cfs_period_us": fmt.Sprint(period.Microseconds()), "cpu.cfs_quota_us": fmt.Sprint(quota)},
		"/sys/fs/cgroup":     {"cpu.max": fmt.Sprintf("%d %d", quota, period.Microseconds())},
	} {
		dir, err := os.MkdirTemp(root, "latchkey-bench-"+name+"-")
		if err != nil {
			continue
		}
		g := &cpuGroup{dir}
		for file, text := range files {
			err = errors.Join(err, g.set(file, text))
		}
		if err = errors.Join(err, g.set("cgroup.procs", strconv.Itoa(pid))); err == nil {
			return g, nil
		}
		g.remove()
	}
	return nil, fmt.Errorf("giving each server %.2f of a core: no cgroup takes it; run as root, or with --cpu 0", cores)
}

// set writes one of its files, which are there.
func (g *cpuGroup) set(file, text string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// remove ends the group, after its processes.
func (g *cpuGroup) remove() {
	if g != nil {
		os.Remove(g.dir)
	}
}

type tpms = []*softtpm.TPM

// softTPMs makes machines.
func softTPMs(n int) tpms {
	all := make(tpms, n)
	for i := range all {
		tpm, err := softtpm.New()
		if err != nil {
			return nil
		}
		all[i] = tpm
	}
	return all
}

// totals are sums over servers.
type totals struct {
	cpu                                   time.Duration
	commits, conflicts, compared, written float64
}

func total(members []*member) (t totals, err error) {
	for _, m := range members {
		cpu, err := m.cpu()
		if err != nil {
			return t, err
		}
		t.cpu += cpu
		if err := m.scrape(&t); err != nil {
			return t, err
		}
	}
	return t, nil
}

// scrape adds what a server says about its store.
func (m *member) scrape(t *totals) error {
	r, err := http.Get(m.metrics)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(io.LimitReader(r.Body, 1<<20)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		to := map[string]*float64{
			`latchkey_store_commits{result="done"}`: &t.commits, `latchkey_store_commits{result="conflict"}`: &t.conflicts,
			`latchkey_store_rows{what="compared"}`: &t.compared, `latchkey_store_rows{what="written"}`: &t.written,
		}[name]
		if n, err := strconv.ParseFloat(value, 64); to != nil && err == nil {
			*to += n
		}
	}
	return nil
}

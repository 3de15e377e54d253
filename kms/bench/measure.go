package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/kms"
)

// Percentiles of a run's times.
type percentiles struct {
	P50 time.Duration `json:"p50_ns"`
	P90 time.Duration `json:"p90_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

// times collects how long things took.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d)
}

func (t *times) percentiles() (p percentiles) {
	slices.Sort(t.all)
	if n := len(t.all); n > 0 {
		p = percentiles{t.all[n/2], t.all[n*9/10], t.all[n*99/100], t.all[n-1]}
	}
	return p
}

func (p percentiles) String() string {
	r := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p90 %v, p99 %v, longest %v", r(p.P50), r(p.P90), r(p.P99), r(p.Max))
}

// A burst is all machines at once, each retrying as a booting one would.
type burst struct {
	Served  int           `json:"served"`
	Retries int64         `json:"retries"`
	Took    time.Duration `json:"took_ns"`
	Times   percentiles   `json:"times"` // from the first try to the key
}

// maxBurst bounds the machines that ask at once: each is a connection of
// this process, too.
const maxBurst = 1000

func (b *Load) burst(ctx context.Context, f *lk1Fleet) (r burst, err error) {
	var retries, served atomic.Int64
	var took times
	start := time.Now()
	err = b.each(b.Nodes, func(i int) error {
		for i < maxBurst {
			err := f.get(ctx, i)
			if err == nil {
				served.Add(1)
				took.add(time.Since(start))
				return nil
			}
			if c := codeOf(err); c != kms.CodeBusy && c != kms.CodeUnreachable || time.Since(start) > time.Minute {
				return err
			}
			retries.Add(1)
			time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond)
		}
		return nil
	})

	return burst{int(served.Load()), retries.Load(), time.Since(start), took.percentiles()}, err
}

// A rate is a steady run: how much was done, in what time, with how much of
// the KMS' processor time and memory.
type rate struct {
	Name    string         `json:"name"`
	Done    int64          `json:"done"`
	Errors  map[string]int `json:"errors,omitempty"` // by code
	Took    time.Duration  `json:"took_ns"`
	CPU     time.Duration  `json:"kms_cpu_ns"`
	PerCore float64        `json:"per_second_and_core"`
	Times   percentiles    `json:"times"`
	// What a core could do if the KMS did nothing but the public-key
	// operations of one exchange, and which part of that was reached.
	Allowed float64 `json:"bare_per_second_and_core,omitempty"`
	Ratio   float64 `json:"ratio_to_bare,omitempty"`
	// What an empty HTTP server does, and how much more time the KMS takes
	// than that server and those operations together.
	Empty float64 `json:"empty_per_second_and_core,omitempty"`
	Over  float64 `json:"ratio_to_bare_and_empty,omitempty"`
	// Memory of the KMS in use, before and after.
	ResidentBefore int64 `json:"kms_resident_bytes_before"`
	Resident       int64 `json:"kms_resident_bytes"`
	bare           []string
}

// steady lets as many machines ask as the KMS never has to wait for.
func (b *Load) steady(ctx context.Context, one workload) (r rate, err error) {
	r = rate{Name: one.name, Errors: map[string]int{}, bare: one.bare}
	cpu := one.cpu
	if cpu == nil {
		cpu = b.cpu
	}
	before, err := cpu()
	if err != nil {
		return r, err
	}

	r.ResidentBefore, _ = b.resident()
	var done atomic.Int64
	var took times
	var mu sync.Mutex
	start := time.Now()
	lanes := min(setupLanes, b.Nodes)
	var group sync.WaitGroup

	for lane := range lanes {
		group.Go(func() {
			for i := lane; time.Since(start) < time.Duration(b.Seconds)*time.Second; i = (i + lanes) % b.Nodes {
				began := time.Now()
				err := one.ask(ctx, i)
				switch {
				case errors.Is(err, errSpent):
					return
				case err != nil:
					mu.Lock()
					r.Errors[nameOf(err)]++
					mu.Unlock()
				default:
					done.Add(1)
					took.add(time.Since(began))
				}
			}
		})
	}

	group.Wait()
	r.Took = time.Since(start)
	after, err := cpu()
	r.Done, r.CPU, r.Times = done.Load(), after-before, took.percentiles()
	if r.Done == 0 && err == nil {
		err = fmt.Errorf("nothing was answered: %v", r.Errors)
	}

	r.PerCore = float64(r.Done) / max(r.CPU.Seconds(), 0.001)
	r.Resident, _ = b.resident()
	return r, err
}

// nameOf is an error's code, or what it says, without addresses.
func nameOf(err error) string {
	if code := codeOf(err); code != "" {
		return code
	}
	text := err.Error()
	return text[:min(len(text), 60)]
}

// cpu is the processor time of the KMS so far.
func (b *Load) cpu() (time.Duration, error) { return cpuOf(b.child.Process.Pid) }

// cpuOf is that of a process: fields 14 and 15 of proc_pid_stat(5), in ticks
// of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
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

// resident is the KMS' memory in use, in bytes: proc_pid_statm(5).
func (b *Load) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", b.child.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, pages int64
	_, err = fmt.Sscan(string(text), &size, &pages)
	return pages * int64(os.Getpagesize()), err
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

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"latchkey/kms"
	"latchkey/kms/softtpm"
)

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

// An answerTime is how long an exchange takes that ends one way: from
// outside, a refusal should not differ from a grant.
type answerTime struct {
	Answer string        `json:"answer"`
	Median time.Duration `json:"median_ns"`
}

// answerRuns is how often each way is timed, in turn.
const answerRuns = 101

func (b *load) answers(ctx context.Context) ([]answerTime, error) {
	stranger, err := softtpm.New()
	if err != nil {
		return nil, err
	}
	changed := *b.tpms[0]
	changed.PCRs = map[int][32]byte{7: {99}}
	asks := []struct {
		name, code string
		tpm        kms.Prover
	}{{"granted", "", b.tpms[0]}, {"pending", kms.Pending.Code(), stranger}, {"other boot state", kms.PCRMismatch.Code(), &changed}}
	times := make([][]time.Duration, len(asks))
	for range answerRuns {
		for i, ask := range asks {
			start := time.Now()
			_, err := b.client(0).Get(ctx, b.url, ask.tpm, []kms.Want{{UUID: uuidOf(0)}})
			if codeOf(err) != ask.code {
				return nil, fmt.Errorf("%s: %w", ask.name, err)
			}
			times[i] = append(times[i], time.Since(start))
		}
	}
	var out []answerTime
	for i, ask := range asks {
		slices.Sort(times[i])
		out = append(out, answerTime{ask.name, times[i][answerRuns/2]})
	}
	return out, nil
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

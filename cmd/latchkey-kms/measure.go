package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"latchkey/kms"
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

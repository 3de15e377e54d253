package qemutests

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"latchkey/unlock/tpm/tpmtest"
)

// TestBenchChips measures whole boots with TPMs that are as slow as real
// chips, and prints what the last boot with each asked of it, in order. It
// runs with BENCH=1 (make bench) and asserts nothing about time.
func TestBenchChips(t *testing.T) {
	b, rounds := newBench(t, 3)
	names := append([]string{"swtpm"}, slices.Sorted(maps.Keys(tpmtest.Models))...)
	times, said := map[string][]float64{}, map[string]string{}
	for range rounds {
		for _, name := range names {
			var mu sync.Mutex
			var asked string
			model := tpmtest.Models[name] // of swtpm: no time at all
			b.chip = &tpmtest.Chip{Model: model, Done: func(c tpm2.TPMCC, took time.Duration) {
				mu.Lock()
				asked += fmt.Sprintf(" %s=%d", tpmtest.Name(c), took.Milliseconds())
				mu.Unlock()
			}}
			seconds, _ := b.boot("initrd.img")
			mu.Lock()
			times[name], said[name] = append(times[name], seconds), asked
			mu.Unlock()
		}
	}
	base := median(times["swtpm"])
	for _, name := range names {
		m := median(times[name])
		fmt.Printf("init's start to the real root's, TPM as slow as %s: median of %d %.3f s, ratio to swtpm %.2f\n  its commands, ms:%s\n", name, rounds, m, m/base, said[name])
	}
}

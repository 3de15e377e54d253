package qemutests

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"latchkey/unlock/tpm/tpmtest"
)

// link plugs the machine's cable, or pulls it.
func (b *bench) link(up bool) {
	var conn net.Conn
	var err error
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) { // QEMU has just been started
		if conn, err = net.Dial("unix", filepath.Join(b.dir, "qmp.sock")); err == nil || time.Since(began) > patience {
			break
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	q := &qmp{conn, bufio.NewScanner(conn)}
	for _, command := range []map[string]any{
		{"execute": "qmp_capabilities"}, {"execute": "set_link", "arguments": map[string]any{"name": "n0", "up": up}},
	} {
		if err := q.do(command); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestBenchKernels measures whole boots from the kernel's start on, so that
// unpacking counts, with the kernel of clouds and the one of real machines,
// beside the floor with the same; and with how little memory each boots. It
// runs with BENCH=1 (make bench) and asserts nothing about time.
func TestBenchKernels(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("measures for minutes: run make bench")
	}
	for _, flavor := range []string{"cloud-amd64", "amd64"} {
		t.Run(flavor, func(t *testing.T) {
			b, rounds := newBenchWith(t, 7, flavor)
			whole, used, ratios := map[string][]float64{}, map[string][]float64{}, []float64(nil)
			for range rounds {
				for _, image := range []string{"floor.img", "initrd.img"} {
					_, cpu := b.boot(image)
					used[image] = append(used[image], cpu)
					whole[image] = append(whole[image], b.whole)
				}
				n := len(whole["floor.img"]) - 1
				ratios = append(ratios, whole["initrd.img"][n]/whole["floor.img"][n])
			}
			info, err := os.Stat(filepath.Join(b.dir, "initrd.img"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Printf("%s, the kernel's start to the real root's, medians of %d: floor %.2f s, latchkey %.2f s, median of the pairs' ratios %.2f (aim 1.2); image %d bytes; load %s\n",
				flavor, rounds, median(whole["floor.img"]), median(whole["initrd.img"]), median(ratios), info.Size(), load())
			fmt.Printf("%s, the virtual machine's CPU from power on to off, medians: floor %.2f s, latchkey %.2f s\n", flavor, median(used["floor.img"]), median(used["initrd.img"]))
			fmt.Printf("%s, least memory that boots: floor %d MiB, latchkey %d MiB\n", flavor, b.least("floor.img"), b.least("initrd.img"))
			fmt.Printf("%s, the last of ours, step by step: %s\n", flavor, b.steps)
		})
	}
}

// least is the least memory with which an image boots, in steps of 16 MiB.
func (b *bench) least(image string) int {
	defer func(before int) { b.mem = before }(b.mem)
	for b.mem = 64; b.mem <= 512; b.mem += 16 {
		s := b.power(image)
		select {
		case <-s.done:
		case <-time.After(patience): // a kernel without memory may stand still
			s.cmd.Process.Kill()
			<-s.done
		}
		if rootRE.MatchString(s.out.text.String()) {
			return b.mem
		}
	}
	return 0
}

// TestBenchCarrier measures what people wait for: boots with a TPM as slow as
// real ones, and with a cable whose link comes after the init. It counts the
// TPM's commands by when they ran. It runs with BENCH=1 (make bench) and
// asserts nothing about time.
func TestBenchCarrier(t *testing.T) {
	b, rounds := newBench(t, 7)
	for _, name := range []string{"swtpm", "slb9670", "slb9672", "bus30"} {
		for _, after := range []time.Duration{0, time.Second, 3 * time.Second} {
			var took []float64
			var before, later int
			for range rounds {
				var mu sync.Mutex
				var ran []time.Time
				b.cable = after
				b.chip = &tpmtest.Chip{Model: tpmtest.Models[name], Done: func(tpm2.TPMCC, time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					ran = append(ran, time.Now())
				}}
				seconds, _ := b.boot("initrd.img")
				took = append(took, seconds-after.Seconds())
				mu.Lock()
				before, later = 0, 0
				for _, at := range ran {
					if at.Before(b.began) {
						before++
					} else {
						later++
					}
				}
				mu.Unlock()
			}
			fmt.Printf("TPM as slow as %s, carrier %v after the init: root %.2f s after the carrier, median of %d; TPM commands of the last boot, the kernel's too: %d before it, %d after (load %s)\n  %s\n",
				name, after, median(took), rounds, before, later, load(), b.steps)
		}
	}
}

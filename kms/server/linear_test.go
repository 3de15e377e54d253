package server_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/lk1"
	"latchkey/kms/softtpm"
)

// histories is how many of them are checked, ten times as many in make
// test-long; LATCHKEY_HISTORIES says another number.
const histories = 200

// killEvery is how often a server dies.
const killEvery = time.Second

// What happens to a machine, and what came of it.
type (
	deed   int
	result int
)

const (
	ask deed = iota + 1
	quarantine
	readmit
)

const (
	granted result = iota + 1
	turnedAway
	unknown // nobody answered: it was done, or it will be, or neither
)

// machineModel is what porcupine compares with: a machine is stopped or not,
// and each release is as of one moment.
var machineModel = porcupine.Model{
	Init: func() any { return false },
	Step: func(state, input, output any) (bool, any) {
		stopped := state.(bool)
		switch input.(deed) {
		case quarantine:
			return true, true
		case readmit:
			return true, false
		}
		return output.(result) == unknown || (output.(result) == turnedAway) == stopped, stopped
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " ", output) },
}

// A chronicle is what happened to one machine.
type chronicle struct {
	c    *crowd
	url  string
	tpm  *softtpm.TPM
	uuid kms.UUID
	id   string

	mu     sync.Mutex
	events []porcupine.Operation
}

var epochStart = time.Now()

// note does a deed and notes when, and what came of it.
func (h *chronicle) note(client int, what deed, do func() result) {
	began := time.Since(epochStart).Nanoseconds()
	came := do()
	ended := time.Since(epochStart).Nanoseconds()
	h.mu.Lock()
	defer h.mu.Unlock()
	if came == unknown {
		if what == ask {
			return // it changed nothing that anybody sees
		}
		ended = 1 << 62 // it may still come
		client = 100 + len(h.events)
	}
	h.events = append(h.events, porcupine.Operation{ClientId: client, Input: what, Output: came, Call: began, Return: ended})
}

func (h *chronicle) ask() result {
	c := &kms.Client{Pins: h.c.pins}
	g, err := c.Get(ctx, h.url, h.tpm, wants(h.uuid))
	switch {
	case err == nil && g.Volumes[0].Status == kms.OK:
		n, _ := h.c.granted.LoadOrStore(h.id, &atomic.Int64{})
		n.(*atomic.Int64).Add(1)
		return granted
	case code(err) == "quarantined":
		return turnedAway
	}
	return unknown
}

func (h *chronicle) stop(on bool) result {
	m := h.c.member(rand.IntN(3))
	var err error
	if !m.do(func() { _, err = m.SetQuarantine(ctx, h.id, on) }) || err != nil {
		return unknown
	}
	return granted
}

// tell lets several hands do things at once.
func (h *chronicle) tell() {
	var group sync.WaitGroup
	for hand := range 4 {
		group.Go(func() {
			for range 4 {
				switch {
				case hand > 0:
					h.note(hand, ask, h.ask)
				case rand.IntN(2) == 0:
					h.note(hand, quarantine, func() result { return h.stop(true) })
				default:
					h.note(hand, readmit, func() result { return h.stop(false) })
				}
			}
		})
	}
	group.Wait()
}

// D10, D12: histories of releases and quarantines at three servers, of which
// one dies now and then, are as if all had happened one after the other.
func TestLinearizable(t *testing.T) {
	n := histories
	if os.Getenv("LATCHKEY_LONG") != "" {
		n *= 10
	}
	if s := os.Getenv("LATCHKEY_HISTORIES"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	if testing.Short() {
		n = 20
	}
	c := newCrowd(t)
	url := serveHTTP(t, c)
	uuid := atomic.Uint32{}
	var group sync.WaitGroup
	var kills, asked atomic.Int64
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	for range 8 {
		group.Go(func() {
			for i := range next {
				h := c.machine(t, url, kms.UUID{9, byte(uuid.Add(1)), byte(i), byte(i >> 8)})
				if h == nil {
					return
				}
				h.tell()
				if ok := porcupine.CheckOperations(machineModel, h.events); !ok {
					t.Errorf("history %d of machine %s cannot have happened one after the other: %v", i, h.id, h.events)
				}
				asked.Add(int64(len(h.events)))
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	for i := 0; ; i++ {
		select {
		case <-done:
			c.verify(t)
			t.Logf("%d histories, %d operations, %d servers killed", n, asked.Load(), kills.Load())
			return
		case <-time.After(killEvery):
			c.kill(i % 3)
			kills.Add(1)
		}
	}
}

// machine is a new machine that is approved.
func (c *crowd) machine(t *testing.T, url string, uuid kms.UUID) *chronicle {
	h := &chronicle{c: c, url: url, tpm: newTPM(t), uuid: uuid}
	h.id = h.tpm.NodeID().String()
	var last error
	for start := time.Now(); ; {
		if time.Since(start) > 20*time.Second {
			t.Errorf("no machine can be approved: %v", last)
			return nil
		}
		client := &kms.Client{Pins: c.pins}
		if _, err := client.Get(ctx, url, h.tpm, wants(uuid)); code(err) != "pending" {
			last = err
			if err == nil {
				return h
			}
			continue
		}
		m := c.member(rand.IntN(3))
		m.do(func() {
			m.PutVolume(ctx, uuid, secret.Own([]byte(canary)))
			m.ApproveNode(ctx, lk1.Approval{Who: h.id, Volumes: []kms.UUID{uuid}})
		})
	}
}

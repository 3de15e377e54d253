package chaos_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"latchkey/kms/store/etcd/etcdtest"
)

// A fault is done to a server for a while.
type fault struct {
	name string
	do   func(s *server, during func())
}

// Faults of any server, and of one whose store is elsewhere.
var (
	killed = fault{"killed", func(s *server, _ func()) { s.signal(syscall.SIGKILL) }}
	paused = fault{"stopped", func(s *server, during func()) {
		s.signal(syscall.SIGSTOP)
		during()
		s.signal(syscall.SIGCONT)
	}}
	full = fault{"its disk full", func(s *server, during func()) {
		path := filepath.Join(s.data, "filler")
		fill(path)
		during()
		os.Remove(path)
	}}
	rekeyed = fault{"its data key changed", func(s *server, during func()) {
		s.operate("POST", "/v1/store/rekey", nil, nil, nil) // goes on by itself, wherever what comes next cuts it off
		during()
	}}
	cut = fault{"cut off", func(s *server, during func()) {
		s.wire(true, false)
		during()
		s.wire(false, false)
	}}
	silent = fault{"without an answer of the store", func(s *server, during func()) {
		s.wire(false, true)
		during()
		s.wire(false, false)
	}}
)

// wire cuts the server off from its store, or silences that.
func (s *server) wire(cut, silent bool) {
	for _, w := range s.wires {
		w.set(cut, silent)
	}
}

// moved has another member of etcd lead.
func moved(t *testing.T, members []*etcdtest.Server) fault {
	return fault{"its etcd's leader moved", func(*server, func()) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var clients []*clientv3.Client
		var ids []uint64
		leader := -1
		for i, m := range members {
			c := m.Client(t)
			defer c.Close()
			st, err := c.Status(ctx, m.URL)
			if err != nil {
				return // a busy machine; another time
			}
			if clients, ids = append(clients, c), append(ids, st.Header.MemberId); st.Leader == st.Header.MemberId {
				leader = i
			}
		}
		if leader >= 0 {
			clients[leader].MoveLeader(ctx, ids[(leader+1)%len(ids)])
		}
	}}
}

// fill takes all the room of a disk.
func fill(path string) {
	f, err := os.Create(path)
	if err != nil {
		return
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return
		}
	}
}

// trouble does faults, one at a time, until ctx ends. It returns how often
// each was done.
func (c *cluster) trouble(ctx context.Context, faults []fault) map[string]int {
	count := map[string]int{}
	for ctx.Err() == nil {
		f := faults[rand.IntN(len(faults))]
		f.do(c.any(), func() { wait(ctx, time.Duration(100+rand.IntN(1000))*time.Millisecond) })
		count[f.name]++
		wait(ctx, time.Duration(50+rand.IntN(450))*time.Millisecond)
	}
	return count
}

func wait(ctx context.Context, long time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(long):
	}
}

package chaos_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/lk1"
	"latchkey/kms/softtpm"
)

// A cluster is the key servers on one store.
type cluster struct {
	t       *testing.T
	servers []*server
	pins    []kms.Pin
}

func (c *cluster) any() *server { return c.servers[rand.IntN(len(c.servers))] }

// A subject is a machine, and what happened to it.
type subject struct {
	c    *cluster
	tpm  *softtpm.TPM
	id   string
	uuid kms.UUID

	mu     sync.Mutex
	events history
}

const seqID = 3

func (s *subject) wants() []kms.Want {
	return []kms.Want{{UUID: s.uuid, Digest: [32]byte{s.uuid[0]}, SeqID: seqID}}
}

// get asks a server for the secrets.
func (s *subject) get() (*kms.Grant, string, error) {
	at := s.c.any().url()
	if at == "" {
		return nil, at, errors.New("the server is not there")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var said said
	client := &kms.Client{Pins: s.c.pins, Dial: said.dial}
	g, err := client.Get(ctx, at, s.tpm, s.wants())
	if other := s.c.any().url(); other != "" && rand.IntN(3) == 0 {
		said.again(strings.TrimPrefix(other, "http://"))
	}
	return g, at, err
}

// said is what a machine says on the wire, for who listens and says it again.
type said struct{ bytes []byte }

func (s *said) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &tapped{conn, s}, nil
}

type tapped struct {
	net.Conn
	to *said
}

func (t *tapped) Write(b []byte) (int, error) {
	t.to.bytes = append(t.to.bytes, b...)
	return t.Conn.Write(b)
}

// again sends the proof to a server once more, and hears its answer out.
func (s *said) again(address string) {
	at := bytes.Index(s.bytes, []byte("POST "+kms.RedeemPath))
	if at < 0 {
		return
	}
	if conn, err := net.DialTimeout("tcp", address, patience); err == nil {
		conn.Write(s.bytes[at:])
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(patience))
		io.Copy(io.Discard, conn)
		conn.Close()
	}
}

func codeOf(err error) string {
	if e, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return e.Code()
	}
	return ""
}

// enroll makes the machine known, with a secret in place.
func (c *cluster) enroll(n int) (*subject, error) {
	tpm, err := softtpm.New()
	if err != nil {
		return nil, err
	}
	s := &subject{c: c, tpm: tpm, id: tpm.NodeID().String(), uuid: kms.UUID{9, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 12: byte(n >> 16), 13: byte(n >> 8), 14: byte(n)}}
	at := url.Values{"uuid": {s.uuid.String()}}
	var last error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		g, _, err := s.get()
		if err == nil && g.Volumes[0].Status == kms.OK {
			g.Wipe()
			return s, nil
		}
		if last = err; err != nil && codeOf(err) != kms.Pending.Code() {
			continue
		}
		on := c.any()
		put := on.operate("POST", "/v1/volume/put", at, secret.Passphrase().Reveal(), nil)
		body, err := json.Marshal(lk1.Approval{Who: s.id, Volumes: []kms.UUID{s.uuid}})
		if err != nil {
			return nil, err
		}
		last = errors.Join(put, on.operate("POST", "/v1/node/approve", nil, body, nil))
	}
	return nil, fmt.Errorf("no machine can be approved for a minute: %w", last)
}

// note keeps what was done, by whom, and how it ended.
func (s *subject) note(hand int, in input, do func() output) output {
	called := now()
	out := do()
	returned := now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if out.outcome == unknown {
		if in.deed == ask {
			return out // it changed nothing that anybody sees
		}
		hand, returned = 100+len(s.events), never
	}
	s.events = append(s.events, porcupine.Operation{ClientId: hand, Input: in, Output: out, Call: called, Return: returned})
	return out
}

// boot asks, and reports that the staged secret opens the volume if there is
// one: at once, or after what others do meanwhile.
func (s *subject) boot(hand int) {
	var g *kms.Grant
	var at string
	out := s.note(hand, input{deed: ask}, func() output {
		var err error
		g, at, err = s.get()
		switch {
		case err == nil && g.Volumes[0].Status == kms.OK:
			return output{done, shown(g.Volumes[0].Active.Secret), shown(g.Volumes[0].Staged.Secret)}
		case codeOf(err) == kms.Quarantined.Code():
			return output{outcome: refused}
		}
		return output{outcome: unknown}
	})
	if out.outcome != done {
		return
	}
	defer g.Wipe()
	if out.staged == "" || rand.IntN(3) == 0 {
		return
	}
	if rand.IntN(3) == 0 {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) // adding a keyslot takes its time
	}
	s.note(hand, input{report, out.staged}, func() output {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		client := &kms.Client{Pins: s.c.pins}
		if client.Report(ctx, at, g, []kms.Result{{UUID: s.uuid, Outcome: kms.OpenedStaged, SeqID: seqID, MAC: make([]byte, 32)}}) != nil {
			return output{outcome: unknown}
		}
		return output{outcome: done}
	})
}

func shown(s secret.Bytes) string { return hex.EncodeToString(s.Reveal()) }

// paths are the operator's.
var paths = map[deed]string{
	quarantine: "/v1/node/quarantine", readmit: "/v1/node/readmit", rotate: "/v1/volume/rotate", abort: "/v1/volume/rotate-abort",
}

func (s *subject) operate(hand int, d deed) {
	s.note(hand, input{deed: d}, func() output {
		err := s.c.any().operate("POST", paths[d], url.Values{"who": {s.id}, "uuid": {s.uuid.String()}}, nil, nil)
		switch {
		case err == nil:
			return output{outcome: done}
		case errors.Is(err, errRefused):
			return output{outcome: refused}
		}
		return output{outcome: unknown}
	})
}

// live has several hands do things at once.
func (s *subject) live() {
	var group sync.WaitGroup
	for hand := range 4 {
		group.Go(func() {
			for range 4 {
				switch {
				case hand > 1:
					s.boot(hand)
				case hand == 1:
					s.operate(hand, []deed{rotate, rotate, abort}[rand.IntN(3)])
				default:
					s.operate(hand, []deed{quarantine, readmit}[rand.IntN(2)])
				}
			}
		})
	}
	group.Wait()
}

// describe is a history as people read it.
func (s *subject) describe() (text string) {
	events := slices.Clone(s.events)
	slices.SortFunc(events, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, e := range events {
		text += fmt.Sprintf("%9.3f %9.3f %v %v\n", float64(e.Call)/1e9, min(float64(e.Return)/1e9, 999999), e.Input, e.Output)
	}
	return text
}

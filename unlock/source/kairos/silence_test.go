package kairos_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/codes"
	"latchkey/unlock/source/kairos"
)

// A server that takes the connection and then says nothing, or a byte at a
// time, fails the attempt after SilentFor, wherever it stops.
func TestSilentServers(t *testing.T) {
	for _, row := range []struct {
		name string
		said string // ACCEPT made right; then it stops
		drip string // a byte of it each second
		want time.Duration
	}{
		{"nothing", "", "", kairos.SilentFor},
		{"a head that drips", "HTTP/1.1 101 ", strings.Repeat("x", 9000), kairos.SilentFor},
		{"a websocket that is silent", switching, "", kairos.SilentFor},
		{"a message that drips", switching + "\x81\x7e\x30\x00", strings.Repeat("x", 0x3000), kairos.SilentFor},
		{"pings", switching, strings.Repeat("\x89\x00", 100), kairos.SilentFor},
		{"no answer", switching + frame(asks), "", kairos.SilentFor},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var servers sync.WaitGroup
				defer servers.Wait()
				u, _ := kairos.ParseURL("http://kms.local")
				c := kairos.Client{TPM: mute{}, Server: kairos.Server{URL: u, Connect: func(context.Context) (net.Conn, error) {
					ours, theirs := net.Pipe()
					servers.Go(func() { stopAfter(theirs, row.said, row.drip) })
					return ours, nil
				}}}
				began := time.Now()
				_, err := c.Ask(t.Context(), want)
				if took := time.Since(began); codes.Of(err) != kairos.CodeSilent || took != row.want || !strings.Contains(err.Error(), "sent nothing whole for 10s") {
					t.Errorf("Ask = %v after %s, want code %s after %s", err, took, kairos.CodeSilent, row.want)
				}
			})
		})
	}
}

// stopAfter answers a handshake with said, lets the rest drip, and reads on.
func stopAfter(conn net.Conn, said, drip string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	accept := acceptKey(in)
	var says sync.WaitGroup
	defer says.Wait()
	says.Go(func() {
		io.WriteString(conn, strings.ReplaceAll(said, "ACCEPT", accept))
		for i := range len(drip) {
			time.Sleep(time.Second)
			if _, err := io.WriteString(conn, drip[i:i+1]); err != nil {
				return
			}
		}
	})
	io.Copy(io.Discard, in)
}

// A context that has ended stays the end, also where a step's own time begins.
func TestEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		u, _ := kairos.ParseURL("http://kms.local")
		c := kairos.Client{TPM: mute{}, Server: kairos.Server{URL: u, Connect: func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go stopAfter(theirs, switching, "")
			return ended{ours, cancel, make(chan struct{})}, nil
		}}}
		began := time.Now()
		if _, err := c.Ask(ctx, want); codes.Of(err) != kairos.CodeSilent || !strings.HasSuffix(err.Error(), "context canceled") || time.Since(began) != 0 {
			t.Errorf("Ask = %v after %s, want its end at once", err, time.Since(began))
		}
	})
}

// An ended connection's context ends just before its first deadline is set,
// and what ends the connection then comes before it, too.
type ended struct {
	net.Conn
	cancel context.CancelFunc
	cut    chan struct{}
}

func (c ended) SetDeadline(at time.Time) error {
	if at.Before(time.Now()) {
		defer close(c.cut)
		return c.Conn.SetDeadline(at)
	}
	c.cancel()
	<-c.cut
	return c.Conn.SetDeadline(at)
}

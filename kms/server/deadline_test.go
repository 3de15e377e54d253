package server_test

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Limits of protocol.md: header and M1 within 5 s, however slowly they come;
// an answer that nobody reads ends the exchange within 20 s.
func TestSlowMachines(t *testing.T) {
	for _, row := range []struct {
		name  string
		sent  string // at once
		drip  byte   // then, once a second; 0: nothing
		limit time.Duration
	}{
		{"says nothing", "", 0, 6 * time.Second},
		{"half a header", "POST /lk1/challenge HTTP/1.1\r\nHost: k", 0, 6 * time.Second},
		{"a header by drops", "POST /lk1/challenge HTTP/1.1\r\nX: ", 'x', 6 * time.Second},
		{"half a message", "POST /lk1/challenge HTTP/1.1\r\nHost: k\r\nContent-Length: 900\r\n\r\n\x01", 0, 6 * time.Second},
		{"a message by drops", "POST /lk1/challenge HTTP/1.1\r\nHost: k\r\nContent-Length: 900\r\n\r\n", 1, 6 * time.Second},
		{"reads no answer", "GET /lk1/challenge HTTP/1.1\r\nHost: k\r\n\r\n", 0, 21 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKMS(t, inMemory)
				conn, err := f.pipe.dial(ctx, "", "")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				began := time.Now()
				if _, err := io.WriteString(conn, row.sent); err != nil {
					t.Fatal(err)
				}
				if took := untilClosed(conn, row.drip, row.name == "reads no answer").Sub(began); took > row.limit {
					t.Errorf("the connection was held for %s, want %s at most", took, row.limit)
				}
			})
		})
	}
}

// untilClosed drips until the other side closes, and tells when it did. One
// that does not read notices by writing.
func untilClosed(conn net.Conn, drip byte, deaf bool) time.Time {
	if !deaf && drip == 0 {
		io.Copy(io.Discard, conn)
		return time.Now()
	}
	if !deaf {
		go io.Copy(io.Discard, conn)
	}
	for {
		time.Sleep(time.Second)
		conn.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Write([]byte{drip}); err != nil {
			return time.Now()
		}
	}
}

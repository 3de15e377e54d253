package kairos_test

import (
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"latchkey/kms/server/kairos"
)

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(strings.Replace(url, "http", "ws", 1)+kairos.AttestationPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// maskedHead begins a client's frame: RFC 6455, section 5.2.
func maskedHead(first byte, length uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, length), 0, 0, 0, 0)
}

// A frame is refused by the length that it announces, and so is a message
// made of small ones.
func TestFrameLimits(t *testing.T) {
	fragments := maskedHead(0x01, 8<<10)
	fragments = append(fragments, make([]byte, 8<<10)...)
	more := append(maskedHead(0x00, 8<<10), make([]byte, 8<<10)...)
	for name, sent := range map[string][]byte{
		"100 MiB announced":  maskedHead(0x81, 100<<20),
		"2^63 announced":     maskedHead(0x81, 1<<63),
		"fragments too long": append(append(append([]byte(nil), fragments...), more...), maskedHead(0x80, 1)...),
		"unmasked":           {0x81, 2, '{', '}'},
		"ping":               {0x89, 0x80, 0, 0, 0, 0},
		"reserved bit":       {0xc1, 0x82, 0, 0, 0, 0, '{', '}'},
	} {
		t.Run(name, func(t *testing.T) {
			k, n, _ := start(t)
			conn := dial(t, n.URL)
			if _, err := conn.NetConn().Write(sent); err != nil {
				t.Fatal(err)
			}

			for {
				_, message, err := conn.ReadMessage()
				if err == nil {
					t.Errorf("the server answered %q", message)
				}
				if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
					t.Error("the server waits on")
				}
				if err != nil {
					break
				}
			}

			if k.asked.Load() != 0 {
				t.Error("the keeper was asked")
			}
			if r, err := n.Attest(); err != nil || r.Passphrase == "" {
				t.Errorf("another node meanwhile: %+v, %v", r, err)
			}
		})
	}
}

// A head that is wrong gets a status and no websocket.
func TestHeads(t *testing.T) {
	_, n, _ := start(t)
	for name, h := range map[string]http.Header{
		"long label":   {"Label": {strings.Repeat("x", 129)}},
		"two labels":   {"Label": {"a", "b"}},
		"odd bytes":    {"Name": {"a\xffb"}},
		"other origin": {"Origin": {"http://192.0.2.1"}},
	} {
		conn, reply, err := websocket.DefaultDialer.Dial(strings.Replace(n.URL, "http", "ws", 1)+kairos.AttestationPath, h)
		if err == nil {
			conn.Close()
			t.Errorf("%s: it was taken", name)
		} else if reply == nil || reply.StatusCode/100 != 4 {
			t.Errorf("%s: %v, want a status of ours", name, err)
		}
	}
	for _, path := range []string{kairos.AttestationPath, kairos.GetPath, kairos.PostPath} {
		reply, err := http.Get(n.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != http.StatusBadRequest {
			t.Errorf("GET %s without websocket = %d, want 400", path, reply.StatusCode)
		}
	}
}

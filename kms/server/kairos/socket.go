package kairos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"latchkey/internal/secret"
)

// Limits of an exchange. A node makes its keys after it has connected, and
// an RSA key costs a slow TPM half a minute; until its message is whole, its
// connection makes room for others.
const (
	maxFrame  = 16 << 10 // bytes of a message; theirs have 1,600
	readWait  = 40 * time.Second
	writeWait = 5 * time.Second
	wholeWait = 100 * time.Second
)

// A kind is a frame's opcode with FIN: RFC 6455, section 5.2.
type kind byte

const (
	textFrame   kind = 0x81
	binaryFrame kind = 0x82
)

// A socket is one websocket. gorilla makes the handshake and reads; what
// goes out is ours, so that no buffer keeps a passphrase.
type socket struct {
	conn *websocket.Conn
	end  time.Time
}

var upgrader = websocket.Upgrader{
	HandshakeTimeout: writeWait, ReadBufferSize: 4096, WriteBufferSize: 512,
	Error: func(w http.ResponseWriter, _ *http.Request, status int, _ error) { http.Error(w, "", status) },
}

var errControl = errors.New("a control frame, which no node sends")

func upgrade(w http.ResponseWriter, r *http.Request) (*socket, error) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(maxFrame)
	// Answers to control frames would be a way to keep us writing.
	conn.SetPingHandler(func(string) error { return errControl })
	conn.SetPongHandler(func(string) error { return errControl })
	conn.SetCloseHandler(func(int, string) error { return nil })
	return &socket{conn, time.Now().Add(wholeWait)}, nil
}

// Close ends the TCP connection without a CLOSE frame, as nodes expect.
func (s *socket) Close() error { return s.conn.NetConn().Close() }

// read reads one message, of either kind. The caller wipes it.
func (s *socket) read() (secret.Bytes, error) {
	end := time.Now().Add(readWait)
	if end.After(s.end) {
		end = s.end
	}
	if err := s.conn.SetReadDeadline(end); err != nil {
		return secret.Bytes{}, fmt.Errorf("reading a message: %w", err)
	}
	_, message, err := s.conn.ReadMessage()
	if err != nil {
		clear(message)
		return secret.Bytes{}, fmt.Errorf("reading a message: %w", err)
	}
	return secret.Own(message), nil
}

// write sends one frame: one write, unmasked, as a server's are.
func (s *socket) write(k kind, message []byte) error {
	frame := secret.Make(4 + len(message))
	defer frame.Wipe()
	b := append(frame.Reveal()[:0], byte(k))
	switch n := len(message); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		return fmt.Errorf("sending a message: it has %d bytes", n)
	}

	b = append(b, message...)
	conn := s.conn.NetConn()
	if err := conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return fmt.Errorf("sending a message: %w", err)
	}

	if _, err := conn.Write(b); err != nil {
		return fmt.Errorf("sending a message: %w", err)
	}
	return nil
}

package kairos

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/secret"
)

// Limits of an exchange. A server gives a machine 40 s for a message and 100
// s for all of them; ours and theirs answer within a second, and hold nobody
// who waits for approval.
const (
	maxHead     = 8 << 10  // bytes of the answer's head
	maxMessage  = 16 << 10 // bytes; theirs have less than 2,000
	maxControl  = 16       // control frames, which no server sends
	exchangeFor = 100 * time.Second
	// SilentFor is how long a message, or the request, may take with the whole
	// of what the server says to it, however many bytes come meanwhile.
	SilentFor = 10 * time.Second
)

// ErrNotThere is an answer 404: the server speaks another generation.
var ErrNotThere = errors.New("HTTP status 404")

// An opcode of a frame: RFC 6455, section 5.2.
type opcode byte

const (
	continuation opcode = 0
	textFrame    opcode = 1
	binaryFrame  opcode = 2
	closeFrame   opcode = 8
	pingFrame    opcode = 9
	pongFrame    opcode = 10
)

const (
	finBit  = 0x80
	maskBit = 0x80
)

// A socket is the client's side of one websocket. It reads no byte more than
// it needs, so that no buffer keeps a passphrase.
type socket struct {
	conn net.Conn
	ctx  context.Context
	end  time.Time // of the exchange
	stop func() bool
}

// dial connects and makes the handshake: RFC 6455, section 4.1. Lines are
// more lines of the request's head.
func dial(ctx context.Context, s Server, path string, lines []string) (*socket, error) {
	conn, err := s.Connect(ctx)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(exchangeFor)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	w := &socket{conn, ctx, deadline, context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })}
	if err := w.handshake(s.URL, path, lines); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// step gives the next message, and the answer to it, their time.
func (w *socket) step() error {
	until := time.Now().Add(SilentFor)
	if w.end.Before(until) {
		until = w.end
	}
	if err := w.conn.SetDeadline(until); err != nil {
		return err
	}
	return w.ctx.Err() // that it had ended was the deadline before
}

// late says in words that a step's time was over.
func (w *socket) late(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case w.ctx.Err() != nil:
		return w.ctx.Err()
	}
	return fmt.Errorf("the server took the connection and then sent nothing whole for %s", SilentFor)
}

// Close ends the connection without a CLOSE frame, as their client does.
func (w *socket) Close() error {
	w.stop()
	return w.conn.Close()
}

func (w *socket) handshake(u URL, path string, lines []string) error {
	nonce := make([]byte, 16)
	rand.Read(nonce) // never fails: crypto/rand, Go 1.24
	key := base64.StdEncoding.EncodeToString(nonce)
	head := append([]string{"GET " + u.Path + path + " HTTP/1.1", "Host: " + u.Host()}, lines...)
	head = append(head, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: "+key, "Sec-WebSocket-Version: 13", "", "")
	if err := w.step(); err != nil {
		return err
	}
	if _, err := io.WriteString(w.conn, strings.Join(head, "\r\n")); err != nil {
		return fmt.Errorf("asking for a websocket: %w", w.late(err))
	}
	answer, err := w.head()
	if err != nil {
		return fmt.Errorf("reading the answer's head: %w", w.late(err))
	}
	return checkHandshake(answer, key)
}

// head reads the answer's head, and nothing of what follows.
func (w *socket) head() ([]string, error) {
	var b []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(b), "\r\n\r\n"); {
		if len(b) == maxHead {
			return nil, fmt.Errorf("it has more than %d bytes", maxHead)
		}
		if _, err := io.ReadFull(w.conn, one); err != nil {
			return nil, err
		}
		b = append(b, one[0])
	}
	return strings.Split(strings.TrimSuffix(string(b), "\r\n\r\n"), "\r\n"), nil
}

// checkHandshake is RFC 6455, section 4.1, "the client MUST validate".
func checkHandshake(head []string, key string) error {
	version, rest, _ := strings.Cut(head[0], " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	switch {
	case err != nil || len(code) != 3 || !strings.HasPrefix(version, "HTTP/1."):
		return fmt.Errorf("the answer is no HTTP: %.40q", head[0])
	case status == 404:
		return ErrNotThere
	case status != 101:
		return fmt.Errorf("HTTP status %d", status)
	}

	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	wants := map[string]string{"upgrade": "websocket", "connection": "upgrade", "sec-websocket-accept": base64.StdEncoding.EncodeToString(sum[:])}
	for _, line := range head[1:] {
		name, value, _ := strings.Cut(line, ":")
		name, value = strings.ToLower(name), strings.TrimSpace(value)
		if want, ok := wants[name]; ok && (value == want || name != "sec-websocket-accept" && strings.EqualFold(value, want)) {
			delete(wants, name)
		}
		if name == "sec-websocket-extensions" || name == "sec-websocket-protocol" {
			return fmt.Errorf("the answer has %s, which was not asked for", name)
		}
	}
	if len(wants) > 0 {
		return errors.New("the answer is no websocket's handshake")
	}
	return nil
}

// write sends one message, in one masked frame. The message is wiped.
func (w *socket) write(op opcode, message secret.Bytes) error {
	defer message.Wipe()
	n := message.Len()
	frame := secret.Make(14 + n)
	defer frame.Wipe()
	b := append(frame.Reveal()[:0], finBit|byte(op))
	switch {
	case n < 126:
		b = append(b, maskBit|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, maskBit|126), uint16(n))
	default:
		return fmt.Errorf("sending a message: it has %d bytes", n)
	}
	var mask [4]byte
	rand.Read(mask[:])
	b = append(b, mask[:]...)
	for i, c := range message.Reveal() {
		b = append(b, c^mask[i%4])
	}
	if err := w.step(); err != nil {
		return err
	}
	if _, err := w.conn.Write(b); err != nil {
		return fmt.Errorf("sending a message: %w", w.late(err))
	}
	return nil
}

// read reads one message of either kind. io.EOF is the end of the connection
// between two messages.
func (w *socket) read() (secret.Bytes, error) {
	whole, controls := secret.Make(maxMessage), 0
	n, begun := 0, false
	for {
		f, err := w.frame(whole.Reveal()[n:], begun)
		switch {
		case err != nil:
			whole.Wipe()
			return secret.Bytes{}, w.late(err)
		case f.op == pingFrame || f.op == pongFrame:
			if controls++; controls > maxControl {
				whole.Wipe()
				return secret.Bytes{}, errors.New("reading a message: more control frames than any server sends")
			}
			continue
		case f.op == closeFrame:
			whole.Wipe()
			return secret.Bytes{}, io.EOF
		case (f.op == continuation) != begun:
			whole.Wipe()
			return secret.Bytes{}, fmt.Errorf("reading a message: frame of kind %d out of turn", f.op)
		}
		n, begun = n+f.size, true
		if f.last {
			return secret.Own(whole.Reveal()[:n]), nil
		}
	}
}

// A frame's head.
type frameHead struct {
	op   opcode
	last bool
	size int
}

// frame reads one frame into b. Within a message the end of the connection
// is an error of its own.
func (w *socket) frame(b []byte, within bool) (f frameHead, err error) {
	var head [2]byte
	if _, err := io.ReadFull(w.conn, head[:]); err != nil {
		if err == io.EOF && within {
			err = io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			return f, err
		}
		return f, fmt.Errorf("reading a message: %w", err)
	}
	f = frameHead{opcode(head[0] & 0x0f), head[0]&finBit != 0, int(head[1] &^ maskBit)}
	switch {
	case head[0]&0x70 != 0 || head[1]&maskBit != 0: // RFC 6455, section 5.1
		return f, errors.New("reading a message: the frame has bits that no server sets")
	case f.op > binaryFrame && f.op < closeFrame || f.op > pongFrame:
		return f, fmt.Errorf("reading a message: frame of kind %d", f.op)
	case f.op >= closeFrame && (!f.last || f.size > 125):
		return f, errors.New("reading a message: a control frame that is too long")
	}
	if f.size == 126 {
		var more [2]byte
		if _, err := io.ReadFull(w.conn, more[:]); err != nil {
			return f, fmt.Errorf("reading a message: %w", err)
		}
		f.size = int(binary.BigEndian.Uint16(more[:]))
	} else if f.size == 127 {
		f.size = maxMessage + 1 // no message of theirs is that long
	}
	if f.op >= closeFrame {
		b = make([]byte, 125)
	}
	if f.size > len(b) {
		return f, fmt.Errorf("reading a message: it has more than %d bytes", maxMessage)
	}
	if _, err := io.ReadFull(w.conn, b[:f.size]); err != nil {
		return f, fmt.Errorf("reading a message: %w", err)
	}
	return f, nil
}

// Package unary makes one unary call of gRPC on a connection: what the init
// needs of it, by hand, for a library of gRPC or of HTTP/2 brings net/http
// along (docs/decisions/0034).
package unary

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A Call is what is asked of whom.
type Call struct {
	Scheme    string // "http" or "https"
	Authority string // host:port
	Method    string // "/package.Service/Method"
	Request   []byte // at most MaxMessage
	Reply     int    // the longest reply, in bytes
}

// MaxMessage is the longest message that is sent: with its head it stays in
// one frame, and below what a server takes before it says how much it takes
// (RFC 9113, sections 4.2 and 6.9.2).
const MaxMessage = 16<<10 - 64

// A Status is how a server ended a call that did not succeed.
type Status struct {
	Code    int // of gRPC: 7 is PERMISSION_DENIED
	Message string
}

// Codes of gRPC: doc/statuscodes.md of grpc.
const (
	PermissionDenied = 7
	Unavailable      = 14
)

var names = [...]string{"OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

func (s *Status) Error() string {
	name := fmt.Sprintf("code %d", s.Code)
	if s.Code >= 0 && s.Code < len(names) {
		name = names[s.Code]
	}
	return fmt.Sprintf("%s: %.200q", name, s.Message)
}

// Do makes a call, and closes nothing. Its error wraps a *Status if the server
// ended the call with one.
func Do(ctx context.Context, conn net.Conn, c Call) ([]byte, error) {
	if len(c.Request) > MaxMessage {
		return nil, fmt.Errorf("the request has %d bytes, the limit is %d", len(c.Request), MaxMessage)
	}
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(c.encode()); err != nil {
		return nil, fmt.Errorf("sending the request: %w", err)
	}
	reply, err := (&stream{conn: conn, limit: 5 + c.Reply}).receive()
	if err != nil {
		return nil, err
	}
	return message(reply)
}

// preface is RFC 9113, section 3.4.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Frames: RFC 9113, section 6.
const (
	frameData = iota
	frameHeaders
	_ // PRIORITY
	frameReset
	frameSettings
	framePush
	framePing
	frameGoAway
	_ // WINDOW_UPDATE
	frameContinuation
)

// Flags of frames, likewise.
const (
	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings: section 6.5.2.
const (
	headerTableSize = 1
	enablePush      = 2
)

func frame(out []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	out = append(out, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	return append(binary.BigEndian.AppendUint32(out, stream), payload...)
}

// encode is all that is sent before the server says anything: no push, no
// table of headers.
func (c Call) encode() []byte {
	var settings []byte
	for _, id := range []uint16{headerTableSize, enablePush} {
		settings = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(settings, id), 0)
	}
	var head []byte
	for _, h := range [][2]string{
		{":method", "POST"},
		{":scheme", c.Scheme},
		{":path", c.Method},
		{":authority", c.Authority},
		{"te", "trailers"},
		{"content-type", "application/grpc"},
		{"user-agent", "latchkey-init"},
	} {
		head = append(head, 0x10) // a literal that is never indexed, with a new name: RFC 7541, section 6.2.3
		head = literal(literal(head, h[0]), h[1])
	}
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(c.Request))) // not compressed: gRPC over HTTP2, Length-Prefixed-Message
	out := frame([]byte(preface), frameSettings, 0, 0, settings)
	out = frame(out, frameHeaders, flagEndHeaders, 1, head)
	return frame(out, frameData, flagEndStream, 1, append(body, c.Request...))
}

// literal writes a string without Huffman's code: RFC 7541, section 5.2.
func literal(out []byte, s string) []byte {
	n := len(s)
	if n < 0x7f {
		return append(append(out, byte(n)), s...)
	}
	out, n = append(out, 0x7f), n-0x7f
	for ; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(append(out, byte(n)), s...)
}

// message is the one message of a body.
func message(body []byte) ([]byte, error) {
	switch {
	case len(body) < 5:
		return nil, errors.New("the reply has no message")
	case body[0] != 0:
		return nil, errors.New("the reply is compressed, which was not asked for")
	case int64(binary.BigEndian.Uint32(body[1:])) != int64(len(body)-5):
		return nil, errors.New("the reply is no message, or several")
	}
	return body[5:], nil
}

// unescaped reads a grpc-message: gRPC over HTTP2, Percent-Encoded.
func unescaped(s string) string {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if b, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				out, i = append(out, b[0]), i+2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// readFrame reads a frame, which has at most 16 KiB as long as we do not say
// more: RFC 9113, section 4.2.
func readFrame(r io.Reader) (f received, err error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, fmt.Errorf("the connection ended: %w", err)
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if n > 16<<10 {
		return f, fmt.Errorf("a frame has %d bytes: this is no HTTP/2, or it breaks its limits", n)
	}
	f = received{kind: head[3], flags: head[4], stream: binary.BigEndian.Uint32(head[5:]) &^ (1 << 31), payload: make([]byte, n)}
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return f, fmt.Errorf("the connection ended in a frame: %w", err)
	}
	return f, nil
}

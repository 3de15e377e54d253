package unary

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// Bounds of an answer.
const (
	maxFrames = 256     // with those that say nothing
	maxHead   = 8 << 10 // bytes of one head, with its continuations
)

// A received is a frame.
type received struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

// A stream is the answer to the one call of a connection.
type stream struct {
	conn  net.Conn
	limit int // of body, in bytes

	body   []byte
	headed bool // the first head has come
	status *Status
	ended  bool
}

// receive reads frames until the stream ends, and returns its body.
func (s *stream) receive() ([]byte, error) {
	for range maxFrames {
		f, err := readFrame(s.conn)
		if err != nil {
			return nil, err
		}
		if err := s.take(f); err != nil {
			return nil, err
		}
		if !s.ended {
			continue
		}
		switch {
		case s.status == nil:
			return nil, errors.New("the server ended the call without a status")
		case s.status.Code != 0:
			return nil, s.status
		}
		return s.body, nil
	}
	return nil, fmt.Errorf("there is no answer in %d frames", maxFrames)
}

// take takes one frame. What is not about the call is answered or passed
// over.
func (s *stream) take(f received) (err error) {
	switch {
	case f.kind == frameSettings && f.flags&flagAck == 0:
		_, err = s.conn.Write(frame(nil, frameSettings, flagAck, 0, nil))
	case f.kind == framePing && f.flags&flagAck == 0 && len(f.payload) == 8:
		_, err = s.conn.Write(frame(nil, framePing, flagAck, 0, f.payload))
	case f.kind == frameGoAway && len(f.payload) >= 8:
		if last := binary.BigEndian.Uint32(f.payload) &^ (1 << 31); last < 1 {
			err = fmt.Errorf("the server takes no call (GOAWAY, error %d)", binary.BigEndian.Uint32(f.payload[4:]))
		}
	case f.kind == framePush:
		err = errors.New("the server pushes, which it was told not to")
	case f.stream != 1:
	case f.kind == frameReset && len(f.payload) == 4:
		err = fmt.Errorf("the server reset the call (error %d)", binary.BigEndian.Uint32(f.payload))
	case f.kind == frameData:
		err = s.data(f)
	case f.kind == frameHeaders:
		err = s.head(f)
	}
	return err
}

func (s *stream) data(f received) error {
	part, err := f.content(0)
	if err != nil {
		return err
	}
	if !s.headed {
		return errors.New("the answer has a body before its head")
	}
	if len(s.body)+len(part) > s.limit {
		return fmt.Errorf("the reply has more than %d bytes", s.limit)
	}
	s.body = append(s.body, part...)
	s.ended = f.flags&flagEndStream != 0
	return nil
}

// content is a frame's payload without padding, and without what precedes it
// in bytes: RFC 9113, sections 6.1 and 6.2.
func (f received) content(before int) ([]byte, error) {
	p, pad := f.payload, 0
	if f.flags&flagPadded != 0 && len(p) > 0 {
		p, pad = p[1:], int(p[0])
	} else if f.flags&flagPadded != 0 {
		pad = 1
	}
	if before+pad > len(p) {
		return nil, errors.New("a frame is shorter than its padding")
	}
	return p[before : len(p)-pad], nil
}

// head reads a head or the trailers, which may go on in further frames:
// nothing else may come between.
func (s *stream) head(f received) error {
	before := 0
	if f.flags&flagPriority != 0 {
		before = 5
	}
	block, err := f.content(before)
	if err != nil {
		return err
	}
	for next := f; next.flags&flagEndHeaders == 0; {
		if next, err = readFrame(s.conn); err != nil {
			return err
		}
		if next.kind != frameContinuation || next.stream != 1 {
			return errors.New("a head is cut off by another frame")
		}
		if block = append(block, next.payload...); len(block) > maxHead {
			return fmt.Errorf("a head has more than %d bytes", maxHead)
		}
	}
	s.ended = f.flags&flagEndStream != 0
	return s.fields(block)
}

func (s *stream) fields(block []byte) error {
	fields := map[string]string{}
	d := hpack.NewDecoder(0, func(h hpack.HeaderField) { fields[h.Name] = h.Value })
	d.SetMaxStringLength(maxHead)
	if _, err := d.Write(block); err != nil {
		return fmt.Errorf("reading a head: %w", err)
	}
	if err := d.Close(); err != nil {
		return fmt.Errorf("reading a head: %w", err)
	}

	switch status := fields[":status"]; {
	case s.headed && !s.ended:
		return errors.New("the answer has two heads")
	case s.headed: // trailers
	case strings.HasPrefix(status, "1") && !s.ended:
		return nil // an informational one: another follows
	case status != "200":
		return fmt.Errorf("the answer has the HTTP status %.20q: this is no gRPC, or a proxy's word", status)
	case !strings.HasPrefix(fields["content-type"], "application/grpc"):
		return fmt.Errorf("the answer is %.80q, want application/grpc", fields["content-type"])
	}
	s.headed = true
	if text, ok := fields["grpc-status"]; ok {
		code, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return fmt.Errorf("grpc-status is %.20q", text)
		}
		s.status = &Status{int(code), unescaped(fields["grpc-message"])}
	}
	return nil
}

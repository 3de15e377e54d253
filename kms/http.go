package kms

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Bounds of an HTTP response's head: RFC 9112 sets none.
const (
	maxHead    = 8 << 10
	maxHeaders = 64
)

// maxRetryAfter caps what a 503 can make us wait.
const maxRetryAfter = 30 * time.Second

// A session is one connection to a KMS, kept for the few requests of one
// exchange. It is an HTTP/1.1 client for exactly what lk1 needs: POST of
// bytes, no redirects, no proxies, no other encoding than chunked.
type session struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	to   Endpoint
	kind string // the media type of what is sent; "" is bytes
	conn net.Conn
	r    *bufio.Reader

	patience time.Duration // for an answer; 0: exchangeTimeout
}

// Post sends one request of a media type, as a session does, and returns the
// body of the answer. It is for other servers than a KMS: its errors have the
// codes of this package all the same, and wrap the HTTPStatus that was answered.
func Post(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), to Endpoint, path, kind string, body []byte) ([]byte, error) {
	s := &session{dial: dial, to: to, kind: kind}
	defer s.close()
	return s.post(ctx, path, body)
}

func (s *session) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// post sends one request and returns the body of a 200 or 204. A kept
// connection may have ended while the TPM worked: then a new one is made,
// once.
func (s *session) post(ctx context.Context, path string, body []byte) ([]byte, error) {
	kept := s.conn != nil
	reply, err := s.once(ctx, path, body)
	if kept && errors.Is(err, errGone) && ctx.Err() == nil {
		reply, err = s.once(ctx, path, body)
	}
	return reply, err
}

// errGone is a connection that ended before one byte of an answer.
var errGone = errors.New("the connection ended")

func (s *session) once(ctx context.Context, path string, body []byte) ([]byte, error) {
	what := fmt.Sprintf("asking %s for %s", s.to, path)
	if err := s.connect(ctx); err != nil {
		return nil, &Error{What: what, code: CodeUnreachable, Err: err}
	}

	conn := s.conn
	err := conn.SetDeadline(deadline(ctx, cmp.Or(s.patience, exchangeTimeout)))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err == nil {
		err = s.send(path, body)
	}
	if err == nil {
		_, err = s.r.Peek(1)
	}
	if err != nil {
		s.close()
		return nil, &Error{What: what, code: CodeUnreachable, Err: fmt.Errorf("%w: %w", errGone, err)}
	}

	reply, keep, err := s.receive()
	if err != nil || !keep {
		s.close()
	}
	if err != nil {
		return nil, responseFailure(what, err)
	}

	return reply.body, reply.judge(what, s.kind == "")
}

func (s *session) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dial := s.dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}

	conn, err := dial(ctx, "tcp", s.to.Address())
	if err != nil {
		return err
	}

	s.conn, s.r = conn, bufio.NewReaderSize(conn, 4096)
	return nil
}

func deadline(ctx context.Context, d time.Duration) time.Time {
	t := time.Now().Add(d)
	if c, ok := ctx.Deadline(); ok && c.Before(t) {
		return c
	}
	return t
}

func (s *session) send(path string, body []byte) error {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		path, hostHeader(s.to), cmp.Or(s.kind, "application/octet-stream"), len(body))
	b.Write(body)
	_, err := io.WriteString(s.conn, b.String())
	return err
}

// hostHeader leaves the zone out: it means nothing on the other side (RFC
// 6874, section 4).
func hostHeader(e Endpoint) string {
	e.Host, _, _ = strings.Cut(e.Host, "%")
	return e.Address()
}

type response struct {
	status     int
	length     int64 // -1 when chunked
	chunked    bool
	keep       bool
	retryAfter time.Duration
	body       []byte
}

// An HTTPStatus is an answer of HTTP that is no success.
type HTTPStatus int

func (s HTTPStatus) Error() string { return fmt.Sprintf("HTTP status %d", int(s)) }

// judge turns statuses into errors. 403 is the uniform refusal of a KMS.
func (p *response) judge(what string, kms bool) error {
	switch {
	case p.status == 200 || p.status == 204:
		return nil
	case !kms:
	case p.status == 403:
		return &Error{What: what, code: CodeNoGrant, Err: errors.New("the KMS did not take our proof; a new challenge is needed")}
	case p.status == 429 || p.status == 503:
		return &Error{What: what, code: CodeBusy, RetryAfter: p.retryAfter, Err: errors.New("the KMS is busy")}
	}
	return &Error{What: what, code: CodeBadAnswer, Err: HTTPStatus(p.status)}
}

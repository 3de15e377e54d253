package kms

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// errHTTP is a response that is not the HTTP/1.1 that we take.
var errHTTP = errors.New("not an HTTP response we take")

func responseFailure(what string, err error) error {
	code := CodeUnreachable
	if errors.Is(err, errHTTP) {
		code = CodeBadAnswer
	}
	return &Error{What: what, code: code, Err: err}
}

func (s *session) receive() (*response, bool, error) {
	head := &limitedLines{r: s.r, left: maxHead}
	p, err := readHead(head)
	if err != nil {
		return nil, false, err
	}

	switch {
	case p.status == 204:
	case p.chunked:
		p.body, err = readChunked(s.r)
	case p.length < 0:
		return nil, false, fmt.Errorf("%w: no length", errHTTP)
	case p.length > MaxMessage:
		return nil, false, fmt.Errorf("%w: body of %d bytes", errHTTP, p.length)
	default:
		p.body = make([]byte, p.length)
		_, err = io.ReadFull(s.r, p.body)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the body: %w", err)
	}

	return p, p.keep, nil
}

func readHead(head *limitedLines) (*response, error) {
	line, err := head.next()
	if err != nil {
		return nil, err
	}

	p := &response{length: -1, keep: true}
	version, rest, _ := strings.Cut(line, " ")
	digits, _, _ := strings.Cut(rest, " ")
	if p.status, err = strconv.Atoi(digits); err != nil || version != "HTTP/1.1" || len(digits) != 3 || p.status < 200 || p.status > 599 {
		return nil, fmt.Errorf("%w: %.40q", errHTTP, line)
	}

	for range maxHeaders {
		line, err := head.next()
		if err != nil {
			return nil, err
		}
		if line == "" {
			return p, p.checkFraming()
		}
		if err := p.header(line); err != nil {
			return nil, err
		}
	}

	return nil, fmt.Errorf("%w: more than %d headers", errHTTP, maxHeaders)
}

// header takes one header line: RFC 9112, sections 5 and 6.
func (p *response) header(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return fmt.Errorf("%w: header %.40q", errHTTP, line)
	}

	value = strings.Trim(value, " \t")
	switch strings.ToLower(name) {
	case "content-length":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || p.length >= 0 || strings.HasPrefix(value, "+") {
			return fmt.Errorf("%w: Content-Length %.20q", errHTTP, value)
		}
		p.length = int64(n)

	case "transfer-encoding":
		if !strings.EqualFold(value, "chunked") || p.chunked {
			return fmt.Errorf("%w: Transfer-Encoding %.20q", errHTTP, value)
		}
		p.chunked = true

	case "connection":
		p.keep = p.keep && !strings.EqualFold(value, "close")
	case "retry-after":
		if n, err := strconv.ParseUint(value, 10, 16); err == nil {
			p.retryAfter = min(time.Duration(n)*time.Second, maxRetryAfter)
		}
	}

	return nil
}

// checkFraming refuses a message with two lengths: what one reader takes
// for the end is the middle for another.
func (p *response) checkFraming() error {
	if p.chunked && p.length >= 0 {
		return fmt.Errorf("%w: two lengths", errHTTP)
	}
	return nil
}

// readChunked reads a chunked body (RFC 9112, section 7.1) without
// extensions and trailers.
func readChunked(r *bufio.Reader) ([]byte, error) {
	lines := &limitedLines{r: r, left: maxHead}
	var body []byte
	for {
		line, err := lines.next()
		if err != nil {
			return nil, err
		}

		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil || len(body)+int(n) > MaxMessage {
			return nil, fmt.Errorf("%w: chunk %.20q", errHTTP, line)
		}

		start := len(body)
		body = append(body, make([]byte, n)...)
		if _, err := io.ReadFull(r, body[start:]); err != nil {
			return nil, err
		}

		if end, err := lines.next(); err != nil || end != "" {
			return nil, fmt.Errorf("%w: chunk without end", errHTTP)
		}
		if n == 0 {
			return body, nil
		}
	}
}

// limitedLines reads lines that end in CRLF, so many bytes in all.
type limitedLines struct {
	r    *bufio.Reader
	left int
}

func (l *limitedLines) next() (string, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > l.left {
		return "", fmt.Errorf("%w: head over %d bytes", errHTTP, maxHead)
	}
	if err != nil {
		return "", err
	}
	l.left -= len(line)
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || strings.ContainsAny(text, "\r\x00") {
		return "", fmt.Errorf("%w: line %.40q", errHTTP, line)
	}
	return text, nil
}

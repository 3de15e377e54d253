package kms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/endpoint"
	"latchkey/kms"
)

func code(err error) string {
	if coded, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return coded.Code()
	}
	return ""
}

// D5: only http, a host, perhaps a port.
func TestParseURL(t *testing.T) {
	for _, row := range []struct{ in, host, port string }{
		{"http://kms.local", "kms.local", "7741"},
		{"http://kms.local/", "kms.local", "7741"},
		{"http://kms.local:8080", "kms.local", "8080"},
		{"http://kms.example.", "kms.example.", "7741"},
		{"http://192.0.2.5:1", "192.0.2.5", "1"},
		{"http://[2001:db8::5]", "2001:db8::5", "7741"},
		{"http://[fe80::1%25eth0]:99", "fe80::1%eth0", "99"},
		{"http://[fe80::1%eth0]", "fe80::1%eth0", "7741"},
	} {
		e, err := kms.ParseURL(row.in)
		if err != nil || e.Host != row.host || fmt.Sprint(e.Port) != row.port {
			t.Errorf("ParseURL(%q) = %+v, %v, want %s %s", row.in, e, err, row.host, row.port)
		}
	}
	for _, in := range []string{
		"", "kms.local", "https://kms.local", "HTTP://kms.local", "ftp://kms.local", "http:kms.local", "http:///x", "http://",
		"http://user@kms.local", "http://user:pw@kms.local", "http://kms.local/path", "http://kms.local?x=1", "http://kms.local#x",
		"http://kms.local:", "http://kms.local:0", "http://kms.local:65536", "http://kms.local:+1", "http://kms.local:01", "http://kms.local:80:80",
		"http://2001:db8::5", "http://[2001:db8::5", "http://2001:db8::5]", "http://[192.0.2.5]", "http://[kms.local]", "http://[]",
		"http://kms..local", "http://-kms.local", "http://kms_.local:x", "http://127.1", "http://0x7f000001", "http://2130706433",
		"http://kms.local\r\nX: y", "http://kms local", "http://kms\x00.local", "http://k\u00fcms.local", "http://0.0.0.0", "http://[::]", "http://224.0.0.251", "http://[ff02::fb]",
		"http://" + strings.Repeat("a", 64), "http://kms.local//", `http://kms\.local`,
	} {
		if e, err := kms.ParseURL(in); err == nil || code(err) != kms.CodeBadURL {
			t.Errorf("ParseURL(%q) = %+v, %v, want code %s", in, e, err, kms.CodeBadURL)
		}
	}
}

// What a server may answer before anything is believed, and what is made
// of it. None of it reaches the TPM.
func TestAnswersThatAreNotTaken(t *testing.T) {
	for _, row := range []struct{ name, reply, code string }{
		{"redirect", "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://192.0.2.9/\r\nContent-Length: 0\r\n\r\n", kms.CodeBadAnswer},
		{"not HTTP", "220 smtp.example ESMTP\r\n", kms.CodeBadAnswer},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", kms.CodeBadAnswer},
		{"nothing", "", kms.CodeUnreachable},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-", kms.CodeUnreachable},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", kms.CodeUnreachable},
		{"100 MiB", "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", kms.CodeBadAnswer},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nabc", kms.CodeBadAnswer},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", kms.CodeBadAnswer},
		{"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", kms.CodeBadAnswer},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc", kms.CodeBadAnswer},
		{"gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", kms.CodeBadAnswer},
		{"endless chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", kms.CodeBadAnswer},
		{"chunk extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n", kms.CodeBadAnswer},
		{"header without colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", kms.CodeBadAnswer},
		{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", kms.CodeBadAnswer},
		{"100 headers", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 100) + "\r\n", kms.CodeBadAnswer},
		{"long header", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 9000) + "\r\n\r\n", kms.CodeBadAnswer},
		{"an empty M2", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", kms.CodeBadAnswer},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", kms.CodeBadAnswer},
		{"an error page", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno", kms.CodeBadAnswer},
		{"refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", kms.CodeNoGrant},
	} {
		c := &kms.Client{Pins: []kms.Pin{{1}}, Dial: answering(row.reply)}
		if _, err := c.Get(context.Background(), "http://192.0.2.1", untouchable{t}, one); code(err) != row.code {
			t.Errorf("%s: Get = %v, want code %s", row.name, err, row.code)
		}
	}
}

// F12: 503 says when to come back, within reason.
func TestBusy(t *testing.T) {
	for _, row := range []struct {
		header string
		want   time.Duration
	}{{"Retry-After: 3\r\n", 3 * time.Second}, {"Retry-After: 9999\r\n", 30 * time.Second}, {"Retry-After: Fri, 31 Dec\r\n", 0}, {"", 0}} {
		c := &kms.Client{Pins: []kms.Pin{{1}}, Dial: answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n" + row.header + "\r\n")}
		_, err := c.Get(context.Background(), "http://192.0.2.1", untouchable{t}, one)
		e, ok := errors.AsType[*kms.Error](err)
		if !ok || e.Code() != kms.CodeBusy || e.RetryAfter != row.want {
			t.Errorf("503 with %q = %v, want %s after %v", row.header, err, kms.CodeBusy, row.want)
		}
	}
}

// F12: every wait has an end.
func TestDeadlines(t *testing.T) {
	for _, row := range []struct {
		name string
		dial func(context.Context, string, string) (net.Conn, error)
		want time.Duration
	}{
		{"never connects", func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, 5 * time.Second},
		{"never answers", func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			return ours, nil
		}, 20 * time.Second},
		{"answers a byte at a time", func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				readRequest(theirs)
				for range 1000 {
					if _, err := theirs.Write([]byte("H")); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			return ours, nil
		}, 20 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				c := &kms.Client{Pins: []kms.Pin{{1}}, Dial: row.dial}
				_, err := c.Get(context.Background(), "http://192.0.2.1", untouchable{t}, one)
				if got := time.Since(start); code(err) != kms.CodeUnreachable || got != row.want {
					t.Errorf("Get = %v after %v, want code %s after %v", err, got, kms.CodeUnreachable, row.want)
				}
				time.Sleep(2 * time.Second) // the server's end notices
			})
		})
	}
}

func TestCanceledExchangeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		c := &kms.Client{Pins: []kms.Pin{{1}}, Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			return ours, nil
		}}
		if _, err := c.Get(ctx, "http://192.0.2.1", untouchable{t}, one); err == nil || time.Since(start) != time.Second {
			t.Errorf("Get = %v after %v", err, time.Since(start))
		}
	})
}

func TestBadRequests(t *testing.T) {
	ctx := context.Background()
	pinned := &kms.Client{Pins: []kms.Pin{{1}}}
	many := make([]kms.Want, 17)
	for i := range many {
		many[i].UUID[0] = byte(i)
	}

	for _, row := range []struct {
		name string
		ask  func() (*kms.Grant, error)
	}{
		{"no pins", func() (*kms.Grant, error) {
			return (&kms.Client{}).Get(ctx, "http://192.0.2.1", untouchable{t}, one)
		}},
		{"no volumes", func() (*kms.Grant, error) { return pinned.Get(ctx, "http://192.0.2.1", untouchable{t}, nil) }},
		{"17 volumes", func() (*kms.Grant, error) { return pinned.Get(ctx, "http://192.0.2.1", untouchable{t}, many) }},
		{"offers for other volumes", func() (*kms.Grant, error) {
			return pinned.Deposit(ctx, "http://192.0.2.1", untouchable{t}, kms.Put, one, []kms.Offer{{UUID: kms.UUID{9}}})
		}},
		{"a get that offers", func() (*kms.Grant, error) {
			return pinned.Deposit(ctx, "http://192.0.2.1", untouchable{t}, kms.Get, one, []kms.Offer{{UUID: kms.UUID{1}}})
		}},
	} {
		if _, err := row.ask(); code(err) != kms.CodeBadRequest {
			t.Errorf("%s: %v, want code %s", row.name, err, kms.CodeBadRequest)
		}
	}
}

// A chunked answer is read like one with a length; one with both is not.
func TestChunkedAnswer(t *testing.T) {
	m2 := (&kms.Challenge{Core: fill(1, 300), Cookie: fill(2, 300), Signature: fill(3, 64)}).Encode()
	for _, row := range []struct{ header, code string }{{"", kms.CodeWrongPin}, {"Content-Length: 3\r\n", kms.CodeBadAnswer}} {
		var reply bytes.Buffer
		reply.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + row.header + "\r\n")
		for _, part := range [][]byte{m2[:100], m2[100:]} {
			fmt.Fprintf(&reply, "%x\r\n%s\r\n", len(part), part)
		}
		reply.WriteString("0\r\n\r\n")
		c := &kms.Client{Pins: []kms.Pin{{1}}, Dial: answering(reply.String())}
		if _, err := c.Get(context.Background(), "http://192.0.2.1", untouchable{t}, one); code(err) != row.code {
			t.Errorf("Get of an answer with header %q = %v, want code %s", row.header, err, row.code)
		}
	}
}

// TestPost: other servers' statuses are told as they are.
func TestPost(t *testing.T) {
	for _, status := range []int{400, 403, 404, 429, 503} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		to, err := endpoint.ParseURL(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		_, err = kms.Post(t.Context(), (&net.Dialer{}).DialContext, kms.Endpoint(to), "/", "text/plain", nil)
		if got, ok := errors.AsType[kms.HTTPStatus](err); !ok || int(got) != status || got.Error() != fmt.Sprintf("HTTP status %d", status) {
			t.Errorf("Post = %v, want HTTP status %d", err, status)
		}
		s.Close()
	}
}

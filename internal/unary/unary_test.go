package unary_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	sidero "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"latchkey/internal/plan"
	"latchkey/internal/tlsclient"
	"latchkey/internal/tlsclient/tlstest"
	"latchkey/internal/unary"
)

// server is one of Sidero's generated code, and of gRPC's library.
type server struct {
	sidero.UnimplementedKMSServiceServer
}

func (server) Unseal(_ context.Context, r *sidero.Request) (*sidero.Response, error) {
	switch {
	case r.NodeUuid == "refused":
		return nil, status.Error(codes.PermissionDenied, "refused: 100 % of ünknown\nmachines")
	case r.NodeUuid == "long":
		return &sidero.Response{Data: make([]byte, 5000)}, nil
	}
	return &sidero.Response{Data: append([]byte(r.NodeUuid), r.Data...)}, nil
}

func serve(t *testing.T, creds credentials.TransportCredentials) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(creds))
	sidero.RegisterKMSServiceServer(g, server{})
	go g.Serve(l)
	t.Cleanup(g.Stop)
	return l.Addr()
}

// TestReal: a server of gRPC's library, with and without TLS.
func TestReal(t *testing.T) {
	root := tlstest.New(tlstest.Years(2000, 2100))
	cert := root.Server(tlstest.Years(2000, 2100), x509.ExtKeyUsageServerAuth, "kms.example")
	for _, scheme := range []string{"http", "https"} {
		creds := insecure.NewCredentials()
		if scheme == "https" {
			creds = credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
		}
		addr := serve(t, creds)
		call := func(node string, data []byte, limit int) ([]byte, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { conn.Close() }()
			if scheme == "https" {
				if conn, err = tlsclient.Client(ctx, conn, plan.TLSServer{Host: "kms.example", Protocol: "h2", Trust: plan.TLS{CA: []string{root.PEM()}}}, func(string) {}); err != nil {
					t.Fatal(err)
				}
			}
			request, err := proto.Marshal(&sidero.Request{NodeUuid: node, Data: data})
			if err != nil {
				t.Fatal(err)
			}
			return unary.Do(ctx, conn, unary.Call{Scheme: scheme, Authority: "kms.example:4050", Method: "/sidero.kms.KMSService/Unseal", Request: request, Reply: limit})
		}

		for _, n := range []int{0, 66, 4096, 15000} {
			var got sidero.Response
			reply, err := call("node", bytes.Repeat([]byte{7}, n), 16000)
			if err == nil {
				err = proto.Unmarshal(reply, &got)
			}
			if err != nil || !bytes.Equal(got.Data, append([]byte("node"), bytes.Repeat([]byte{7}, n)...)) {
				t.Errorf("%s, %d bytes: %d bytes came back, %v", scheme, n, len(got.Data), err)
			}
		}
		_, err := call("refused", nil, 100)
		if s, ok := errors.AsType[*unary.Status](err); !ok || s.Code != unary.PermissionDenied || s.Message != "refused: 100 % of ünknown\nmachines" {
			t.Errorf("%s, refused: %v", scheme, err)
		}
		if _, err := call("long", nil, 4999); err == nil || !strings.Contains(err.Error(), "more than 5004 bytes") {
			t.Errorf("%s, a long answer: %v", scheme, err)
		}
		if _, err := call("node", make([]byte, unary.MaxMessage), 100); err == nil || !strings.Contains(err.Error(), "the limit is") {
			t.Errorf("%s, a long request: %v", scheme, err)
		}
	}
}

// f is a frame.
func f(kind, flags byte, stream uint32, payload string) string {
	n := len(payload)
	return string(binary.BigEndian.AppendUint32([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, stream)) + payload
}

// h is a field of a head, a literal.
func h(name, value string) string {
	return "\x10" + string([]byte{byte(len(name))}) + name + string([]byte{byte(len(value))}) + value
}

const (
	ok      = "\x88" // :status 200, indexed: RFC 7541, appendix A
	typed   = "\x10\x0ccontent-type\x10application/grpc"
	ended   = "\x10\x0bgrpc-status\x010"
	message = "\x00\x00\x00\x00\x02hi"
)

// answers are what a server may send, and what comes of it: a reply, or an
// error.
var answers = []struct{ name, sent, reply, says string }{
	{"the shortest", f(1, 4, 1, ok+typed) + f(0, 0, 1, message) + f(1, 5, 1, ended), "hi", ""},
	{"what a server says beside it", f(4, 0, 0, "") + f(4, 1, 0, "") + f(6, 0, 0, "12345678") + f(8, 0, 0, "\x00\x00\x00\x05") + f(99, 0, 0, "x") + f(0, 0, 3, "another's") + f(1, 4, 1, ok+typed) + f(0, 0, 1, message) + f(1, 5, 1, ended), "hi", ""},
	{"padded, with a priority", f(1, 0x2c, 1, "\x02\x00\x00\x00\x00\x10"+ok+typed+"\x00\x00") + f(0, 8, 1, "\x01"+message+"\x00") + f(1, 5, 1, ended), "hi", ""},
	{"a head in parts", f(1, 0, 1, ok+typed[:4]) + f(9, 0, 1, typed[4:7]) + f(9, 4, 1, typed[7:]) + f(0, 0, 1, message) + f(1, 5, 1, ended), "hi", ""},
	{"a body in parts", f(1, 4, 1, ok+typed) + f(0, 0, 1, message[:3]) + f(0, 0, 1, message[3:]) + f(1, 5, 1, ended), "hi", ""},
	{"an informational head", f(1, 4, 1, h(":status", "103")) + f(1, 4, 1, ok+typed) + f(0, 0, 1, message) + f(1, 5, 1, ended), "hi", ""},
	{"a status alone", f(1, 5, 1, ok+typed+h("grpc-status", "7")+h("grpc-message", "no%20%zz%4")), "", `PERMISSION_DENIED: "no %zz%4"`},
	{"a status that is new", f(1, 5, 1, ok+typed+h("grpc-status", "99")), "", "code 99"},
	{"a status that is none", f(1, 5, 1, ok+typed+h("grpc-status", "-1")), "", `grpc-status is "-1"`},
	{"no status", f(1, 4, 1, ok+typed) + f(0, 1, 1, message), "", "without a status"},
	{"no message", f(1, 5, 1, ok+typed+ended), "", "no message"},
	{"two messages", f(1, 4, 1, ok+typed) + f(0, 0, 1, message+message) + f(1, 5, 1, ended), "", "or several"},
	{"compressed", f(1, 4, 1, ok+typed) + f(0, 0, 1, "\x01"+message[1:]) + f(1, 5, 1, ended), "", "compressed"},
	{"too long", f(1, 4, 1, ok+typed) + f(0, 0, 1, strings.Repeat("x", 106)), "", "more than 105 bytes"},
	{"a body without a head", f(0, 0, 1, message), "", "before its head"},
	{"two heads", f(1, 4, 1, ok+typed) + f(1, 4, 1, ok+typed), "", "two heads"},
	{"a proxy's error", f(1, 4, 1, h(":status", "502")+h("content-type", "text/html")), "", `HTTP status "502"`},
	{"a web page", f(1, 4, 1, ok+h("content-type", "text/html")), "", `"text/html", want application/grpc`},
	{"HTTP/1.1", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "", "this is no HTTP/2"},
	{"reset", f(3, 0, 1, "\x00\x00\x00\x08"), "", "reset the call (error 8)"},
	{"another's reset", f(3, 0, 3, "\x00\x00\x00\x08"), "", "the connection ended"},
	{"going away", f(7, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x0b"), "", "GOAWAY, error 11"},
	{"going away after this call", f(7, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00") + f(1, 4, 1, ok+typed) + f(0, 0, 1, message) + f(1, 5, 1, ended), "hi", ""},
	{"a push", f(5, 4, 1, "\x00\x00\x00\x02"), "", "pushes"},
	{"nothing", "", "", "the connection ended"},
	{"half a frame", "\x00\x00\x09\x01", "", "the connection ended"},
	{"half a payload", "\x00\x00\x09\x01\x04\x00\x00\x00\x01abc", "", "in a frame"},
	{"a huge frame", "\x00\x40\x01\x01\x04\x00\x00\x00\x01", "", "16385 bytes"},
	{"more padding than frame", f(1, 0xc, 1, "\x09"+ok), "", "shorter than its padding"},
	{"padding without a length", f(0, 8, 1, ""), "", "shorter than its padding"},
	{"a priority that is cut", f(1, 0x24, 1, "\x00"), "", "shorter than its padding"},
	{"a head that another frame cuts off", f(1, 0, 1, ok) + f(0, 0, 1, message), "", "cut off by another frame"},
	{"a head that another stream's cuts off", f(1, 0, 1, ok) + f(9, 4, 3, typed), "", "cut off by another frame"},
	{"a head without end", f(1, 0, 1, ok) + strings.Repeat(f(9, 0, 1, strings.Repeat(ok, 1<<10)), 9), "", "more than 8192 bytes"},
	{"a head that is none", f(1, 4, 1, "\xff\xff\xff\xff\xff\xff"), "", "reading a head"},
	{"a head that is cut", f(1, 4, 1, ok+typed[:9]), "", "reading a head"},
	{"a table of heads that was not allowed", f(1, 4, 1, "\x3f\xe1\x1f"+ok+typed), "", "reading a head"},
	{"settings for ever", strings.Repeat(f(4, 0, 0, ""), 300), "", "no answer in 256 frames"},
}

// script is a connection to a server that says what it has to, and hears.
type script struct {
	net.Conn
	says  io.Reader
	heard bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.says.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.heard.Write(p) }

func do(sent string) (reply []byte, heard string, err error) {
	s := &script{says: strings.NewReader(sent)}
	reply, err = unary.Do(context.Background(), s, unary.Call{Scheme: "http", Authority: "kms:1", Method: "/a/B", Request: []byte("?"), Reply: 100})
	return reply, s.heard.String(), err
}

// TestAnswers: servers of any kind, and what is none.
func TestAnswers(t *testing.T) {
	for _, row := range answers {
		reply, got, err := do(row.sent)
		if string(reply) != row.reply || (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %q, %v, want %q, %q", row.name, reply, err, row.reply, row.says)
		}
		if !strings.HasPrefix(got, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") {
			t.Errorf("%s: sent %q", row.name, got)
		}
		if row.name == "what a server says beside it" && !strings.HasSuffix(got, f(4, 1, 0, "")+f(6, 1, 0, "12345678")) {
			t.Errorf("settings and ping are not answered: %q", got)
		}
	}
}

// TestCanceled: a server that says nothing holds nobody up.
func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		there.Read(make([]byte, 1<<10))
		cancel()
	}()
	if _, err := unary.Do(ctx, here, unary.Call{Scheme: "http", Authority: "kms:1", Method: "/a/B"}); err == nil {
		t.Error("there was no answer, and no error")
	}
}

// FuzzAnswer: whatever is sent, there is an answer or an error, soon.
func FuzzAnswer(f *testing.F) {
	for _, row := range answers {
		f.Add(row.sent)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		if reply, _, err := do(sent); err == nil && len(reply) > 100 {
			t.Errorf("%d bytes, the limit is 100", len(reply))
		}
	})
}

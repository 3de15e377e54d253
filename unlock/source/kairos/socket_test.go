package kairos_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/source/kairos"
	"latchkey/unlock/tpm"
)

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// A mute TPM proves anything.
type mute struct{}

func (mute) SPKI() []byte                { return []byte("spki") }
func (mute) AK() tpm.AttestationKey      { return tpm.AttestationKey{} }
func (mute) Renew(context.Context) error { return nil }
func (mute) Prove(context.Context, []byte, []byte) (secret.Bytes, kms.Quote, error) {
	return secret.Own([]byte("opened")), kms.Quote{}, nil
}
func (mute) Decrypt(context.Context, []byte) (secret.Bytes, error) { return secret.Bytes{}, nil }

// said connects to a server that says what it is told to, with ACCEPT made
// right, whatever it hears.
func said(t *testing.T, text string) kairos.Client {
	t.Helper()
	u, err := kairos.ParseURL("http://kms.local:8080/x/")
	if err != nil {
		t.Fatal(err)
	}
	return kairos.Client{TPM: mute{}, Server: kairos.Server{URL: u, Connect: func(context.Context) (net.Conn, error) {
		ours, theirs := pair(t)
		go func() {
			defer theirs.Close()
			in := bufio.NewReader(theirs)
			io.WriteString(theirs, strings.ReplaceAll(text, "ACCEPT", acceptKey(in)))
			theirs.CloseWrite()
			io.Copy(io.Discard, in) // until the client has had enough
		}()
		return ours, nil
	}}}
}

// acceptKey reads the head of a handshake and is the Sec-WebSocket-Accept
// that answers it: RFC 6455, section 4.2.2.
func acceptKey(in *bufio.Reader) string {
	key := ""
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == "\r\n" {
			break
		}
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "Sec-WebSocket-Key: "); ok {
			key = value
		}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// pair is both ends of a TCP connection.
func pair(t *testing.T) (ours net.Conn, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ours, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	return ours, conn.(*net.TCPConn)
}

const (
	switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"
	asks      = `{"challenge":{"Credential":"AAE=","Secret":"AAE="}}`
	answers   = `{"passphrase":"a2V5"}`
)

// frame is a text frame.
func frame(text string) string { return "\x81" + string(rune(len(text))) + text }

// Each rule of the handshake and of frames, broken once.
func TestSockets(t *testing.T) {
	long := "\x81\x7e\x40\x01" + strings.Repeat("x", 0x4001)
	for _, row := range []struct{ name, said, err string }{
		{"as it should be", switching + frame(asks) + frame(answers), ""},
		{"lines of other cases", "HTTP/1.1 101 OK\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-accept:ACCEPT\r\nX: y\r\n\r\n" + frame(asks) + frame(answers), ""},
		{"fragments", switching + frame(asks) + "\x01\x0b" + answers[:11] + "\x89\x00" + "\x80" + string(rune(len(answers)-11)) + answers[11:], ""},
		{"a line break after it", switching + frame(asks+"\n") + frame(answers+"\n"), ""},
		{"other accept", strings.ReplaceAll(switching, "ACCEPT", "ACCEPTx"), "no websocket"},
		{"no upgrade", strings.ReplaceAll(switching, "Upgrade: websocket\r\n", ""), "no websocket"},
		{"an extension", strings.ReplaceAll(switching, "Upgrade: w", "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade: w"), "not asked for"},
		{"status 200", "HTTP/1.1 200 OK\r\n\r\n", "HTTP status 200"},
		{"status 404", "HTTP/1.1 404 Not Found\r\n\r\n", "older generation"},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "no HTTP"},
		{"a head without end", strings.Repeat("x", 9000), "more than 8192 bytes"},
		{"nothing", "", "EOF"},
		{"closed", switching, "without an answer"},
		{"closed by a frame", switching + "\x88\x02\x03\xe8", "without an answer"},
		{"closed after the challenge", switching + frame(asks), "without an answer"},
		{"cut", switching + frame(asks) + frame(answers)[:9], "unexpected EOF"},
		{"masked", switching + "\x81\x82abcdxy", "bits"},
		{"compressed", switching + "\xc1\x02xy", "bits"},
		{"kind 3", switching + "\x83\x02xy", "kind 3"},
		{"too long", switching + long, "more than 16384 bytes"},
		{"much too long", switching + "\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00", "more than 16384 bytes"},
		{"in fragments too long", switching + "\x01\x7e\x30\x00" + strings.Repeat("x", 0x3000) + "\x80\x7e\x30\x00" + strings.Repeat("x", 0x3000), "more than 16384 bytes"},
		{"a fragment without beginning", switching + "\x80\x02xy", "out of turn"},
		{"two beginnings", switching + "\x01\x02xy\x81\x02xy", "out of turn"},
		{"pings", switching + strings.Repeat("\x89\x00", 17), "control frames"},
		{"a long ping", switching + "\x89\x7e\x01\x00" + strings.Repeat("x", 256), "too long"},
		{"no JSON", switching + frame("xy"), "JSON"},
		{"key twice", switching + frame(`{"error":"a","Error":"b"}`), "JSON"},
		{"no challenge", switching + frame(`{}`), "no challenge"},
		{"refused at once", switching + frame(`{"error":"TPM is quarantined"}`), "TPM is quarantined"},
		{"no passphrase", switching + frame(asks) + frame(`{}`), "no passphrase"},
		{"error and passphrase", switching + frame(asks) + frame(`{"passphrase":"a2V5","error":"no"}`), `refuses: "no"`},
		{"base64 of two kinds", switching + frame(asks) + frame(`{"passphrase":"a2V-"}`), "no base64"},
	} {
		c := said(t, row.said)
		p, err := c.Ask(t.Context(), want)
		switch {
		case row.err == "" && (err != nil || string(p.Reveal()) != "key"):
			t.Errorf("%s: Ask = %q, %v, want the passphrase", row.name, p.Reveal(), err)
		case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err) || codes.Of(err) == codes.Failed || p.Len() > 0):
			t.Errorf("%s: Ask = %d bytes, %v, want %q with a code", row.name, p.Len(), err, row.err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "http://kms.local:8080/x: ") {
			t.Errorf("%s: %q does not name the server", row.name, err)
		}
	}
}

// A server that says nothing holds nobody up for longer than the context.
func TestSilence(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u, _ := kairos.ParseURL("http://kms.local")
	c := kairos.Client{TPM: mute{}, Server: kairos.Server{URL: u, Connect: func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		go func() {
			bufio.NewReader(theirs).ReadString('\n') // it has come, and nobody answers
			cancel()
		}()
		return ours, nil
	}}}
	began := time.Now()
	if _, err := c.Ask(ctx, want); codes.Of(err) != kairos.CodeSilent || time.Since(began) > kairos.SilentFor/2 {
		t.Errorf("Ask = %v after %s, want code %s when the context ends", err, time.Since(began), kairos.CodeSilent)
	}
}

// FuzzAnswer: whatever a server says, there is an error or its passphrase.
func FuzzAnswer(f *testing.F) {
	f.Add(frame(asks) + frame(answers))
	f.Add(frame(asks) + "\x01\x0b" + answers[:11] + "\x80" + string(rune(len(answers)-11)) + answers[11:])
	f.Add("\x88\x02\x03\xe8")
	f.Fuzz(func(t *testing.T, text string) {
		c := said(t, switching+text)
		if p, err := c.Ask(t.Context(), want); (err == nil) != (p.Len() > 0) {
			t.Errorf("Ask = %d bytes, %v", p.Len(), err)
		}
	})
}

func TestURL(t *testing.T) {
	for _, row := range []struct{ url, address, host, path, text string }{
		{"http://192.0.2.5:8082", "192.0.2.5:8082", "192.0.2.5:8082", "", "http://192.0.2.5:8082"},
		{"http://KMS.local", "kms.local:80", "KMS.local", "", "http://KMS.local"},
		{"https://kms.local/challenge//", "kms.local:443", "kms.local", "/challenge", "https://kms.local/challenge"},
		{"wss://kms.local:30000/", "kms.local:30000", "kms.local:30000", "", "https://kms.local:30000"},
		{"http://[2001:db8::5]", "[2001:db8::5]:80", "[2001:db8::5]", "", "http://[2001:db8::5]"},
	} {
		u, err := kairos.ParseURL(row.url)
		if err != nil || u.Address() != row.address || u.Host() != row.host || u.Path != row.path || u.String() != row.text || u.TLS != strings.HasPrefix(row.text, "https") {
			t.Errorf("ParseURL(%q) = %+v at %s, %v, want %s, %s, %q, %s", row.url, u, u.Address(), err, row.address, row.host, row.path, row.text)
		}
	}
	for _, bad := range []string{"", "kms.local", "ftp://kms.local", "http://", "http://a b", "http://kms.local/a b", "http://kms.local/?a", "http://kms.local/a\r\nb", "http://u@kms.local", "http://kms.local:0", "http://2001:db8::5", "http://" + strings.Repeat("a.", 300)} {
		if u, err := kairos.ParseURL(bad); err == nil {
			t.Errorf("ParseURL(%q) = %+v, want an error", bad, u)
		}
	}
}

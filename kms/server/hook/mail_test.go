package hook_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"latchkey/internal/secret"
	"latchkey/kms/server/hook"
)

// A mailServer takes mail for example.org after a sign-in over TLS.
type mailServer struct {
	url   string
	roots *x509.CertPool
	mails chan []byte
	rcpts chan string
}

func newMailServer(t *testing.T, scheme string, withTLS bool) *mailServer {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	s := &mailServer{roots: x509.NewCertPool(), mails: make(chan []byte, 4), rcpts: make(chan string, 8)}
	s.roots.AddCert(web.Certificate())
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &mailSession{s, c, false}, nil }))
	server.Domain = "mail.example.org"
	config := &tls.Config{Certificates: web.TLS.Certificates}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = scheme + "://" + l.Addr().String()
	if scheme == "smtps" {
		l = tls.NewListener(l, config)
	} else if withTLS {
		server.TLSConfig = config
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return s
}

type mailSession struct {
	*mailServer
	conn   *smtp.Conn
	signed bool
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if _, encrypted := s.conn.TLSConnectionState(); !encrypted || user != "kms" || password != "canary" {
			return smtp.ErrAuthFailed
		}
		s.signed = true
		return nil
	}), nil
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error {
	if !s.signed {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if !strings.HasSuffix(to, "@example.org") {
		return &smtp.SMTPError{Code: 550, Message: "not here"}
	}
	s.rcpts <- to
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.mails <- b
	return err
}

func (*mailSession) Reset()        {}
func (*mailSession) Logout() error { return nil }

func (s *mailServer) target(t *testing.T, change func(*hook.Mail)) *hook.Mail {
	t.Helper()
	m := hook.Mail{
		URL: s.url, From: "kms@example.org", To: []string{"ann@example.org", "ben@example.org"},
		User: "kms", Password: secret.Own([]byte("canary")), Roots: s.roots,
	}
	if change != nil {
		change(&m)
	}
	target, err := hook.NewMail(m)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// A message of both kinds of servers, read by another's reader: no word of a
// machine is a header.
func TestMail(t *testing.T) {
	for _, scheme := range []string{"smtp", "smtps"} {
		s := newMailServer(t, scheme, true)
		set, log := start(t, s.target(t, nil), hook.All)
		set.Tell(hostile)
		m, err := mail.ReadMessage(bytes.NewReader(wait(t, s.mails)))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if want := "A machine waits: " + hostile.Words; err != nil || subject != want {
			t.Errorf("%s: subject %q (%v), want %q", scheme, subject, err, want)
		}
		to, err := m.Header.AddressList("To")
		if err != nil || len(to) != 2 || m.Header.Get("Bcc") != "" || m.Header.Get("Auto-Submitted") != "auto-generated" {
			t.Errorf("%s: header %v (%v)", scheme, m.Header, err)
		}
		if a, b := wait(t, s.rcpts), wait(t, s.rcpts); a != "ann@example.org" || b != "ben@example.org" {
			t.Errorf("%s: sent to %s and %s", scheme, a, b)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if want := "latchkey-kms node approve " + hostile.Words; err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), "\nBcc") {
			t.Errorf("%s: text %q (%v)", scheme, text, err)
		}
		if text := log(); text != "" {
			t.Errorf("%s: log %q", scheme, text)
		}
	}
}

// Without TLS, with a certificate of nobody known, with a wrong password or
// to who is not there nothing is mailed, and the log has no password.
func TestMailThatIsNotSent(t *testing.T) {
	for _, row := range []struct {
		name, scheme string
		withTLS      bool
		change       func(*hook.Mail)
		want         string
	}{
		{"a password that is wrong", "smtp", true, func(m *hook.Mail) { m.Password = secret.Own([]byte("canary2")) }, "signing in"},
		{"nobody of that name", "smtps", true, func(m *hook.Mail) { m.To = []string{"x@example.net"} }, "550"},
		{"no sign-in", "smtps", true, func(m *hook.Mail) { m.User, m.Password = "", secret.Bytes{} }, "502"},
	} {
		s := newMailServer(t, row.scheme, row.withTLS)
		set, log := start(t, s.target(t, row.change), hook.All)
		set.Tell(pending)
		waitFor(t, func() bool { return strings.Contains(log(), "hook failed") })
		if text := log(); !strings.Contains(text, row.want) || !strings.Contains(text, "attempts=1") || strings.Contains(text, "canary") || len(s.mails) > 0 {
			t.Errorf("%s: log %q, want %s", row.name, text, row.want)
		}
	}
}

// What may pass is tried again: here nothing is said before TLS is there.
func TestMailIsEncrypted(t *testing.T) {
	for _, row := range []struct {
		name, scheme string
		withTLS      bool
		change       func(*hook.Mail)
	}{
		{"no STARTTLS", "smtp", false, nil},
		{"nobody's certificate", "smtp", true, func(m *hook.Mail) { m.Roots = x509.NewCertPool() }},
		{"nobody's certificate, from the first byte", "smtps", true, func(m *hook.Mail) { m.Roots = x509.NewCertPool() }},
	} {
		s := newMailServer(t, row.scheme, row.withTLS)
		if err := hook.Deliver(t.Context(), s.target(t, row.change), pending); err == nil || !strings.Contains(err.Error(), "greeting the mail server") {
			t.Errorf("%s: %v", row.name, err)
		}
		if len(s.mails) > 0 || len(s.rcpts) > 0 {
			t.Errorf("%s: something was mailed", row.name)
		}
	}
}

func TestMailsThatAreNone(t *testing.T) {
	good := hook.Mail{URL: "smtp://mail.example.org", From: "a@example.org", To: []string{"b@example.org"}}
	for _, row := range []struct {
		name   string
		change func(*hook.Mail)
	}{
		{"a web service", func(m *hook.Mail) { m.URL = "https://mail.example.org" }},
		{"a path", func(m *hook.Mail) { m.URL += "/x" }},
		{"a password in the URL", func(m *hook.Mail) { m.URL = "smtp://a:b@mail.example.org" }},
		{"to nobody", func(m *hook.Mail) { m.To = nil }},
		{"from nobody", func(m *hook.Mail) { m.From = "" }},
		{"an address with a line break", func(m *hook.Mail) { m.To = []string{"b@example.org\r\nBcc: c@example.org"} }},
		{"an address with a name", func(m *hook.Mail) { m.From = "Ann <a@example.org>" }},
		{"a user without a password", func(m *hook.Mail) { m.User = "x" }},
		{"a password without a user", func(m *hook.Mail) { m.Password = secret.Own([]byte("x")) }},
	} {
		m := good
		row.change(&m)
		if _, err := hook.NewMail(m); err == nil {
			t.Errorf("%s: taken", row.name)
		}
	}
	if _, err := hook.NewMail(good); err != nil {
		t.Error(err)
	}
}

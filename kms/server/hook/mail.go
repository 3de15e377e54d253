package hook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"latchkey/internal/secret"
)

// Mail says how messages are mailed.
type Mail struct {
	URL      string // smtp://host:587, which must offer STARTTLS, or smtps://host:465
	From     string
	To       []string
	User     string         // with Password; empty: none is asked for
	Password secret.Bytes   //
	Roots    *x509.CertPool // who signs the server's certificate; nil: the system's

	host, address string
	implicit      bool // TLS from the first byte: RFC 8314, section 3.3
}

// NewMail checks what it says.
func NewMail(m Mail) (*Mail, error) {
	u, err := url.Parse(m.URL)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return nil, fmt.Errorf("%.200q is no mail server, as smtp://host:587 or smtps://host:465", m.URL)
	}
	port := u.Port()
	m.implicit = u.Scheme == "smtps"
	switch {
	case port == "" && m.implicit:
		port = "465"
	case port == "":
		port = "587"
	}
	m.host, m.address = u.Hostname(), net.JoinHostPort(u.Hostname(), port)
	if len(m.To) == 0 {
		return nil, errors.New("nobody is named to whom to write")
	}
	for _, a := range append([]string{m.From}, m.To...) {
		if parsed, err := mail.ParseAddress(a); err != nil || parsed.Address != a {
			return nil, fmt.Errorf("%.200q is no address, as name@example.org", a)
		}
	}
	if (m.User == "") != (m.Password.Len() == 0) {
		return nil, errors.New("a user and the file of a password come together")
	}
	return &m, nil
}

func (t *Mail) String() string { return t.URL }

func (t *Mail) deliver(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	c, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := t.send(c, m); err != nil {
		if reply, ok := errors.AsType[*textproto.Error](err); ok && reply.Code >= 500 {
			return fmt.Errorf("%w: %w", errFinal, err) // RFC 5321, section 4.2.1
		}
		return err
	}
	return c.Quit()
}

// mailTimeout bounds one message.
const mailTimeout = 30 * time.Second

// connect is encrypted before a name or a password is said.
func (t *Mail) connect(ctx context.Context) (*smtp.Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	end, _ := ctx.Deadline() // deliver set it
	conn.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	config := &tls.Config{ServerName: t.host, RootCAs: t.Roots, MinVersion: tls.VersionTLS12}
	if t.implicit {
		conn = tls.Client(conn, config)
	}
	c, err := smtp.NewClient(conn, t.host)
	if err == nil && !t.implicit {
		if err = c.StartTLS(config); err != nil {
			c.Close()
		}
	}
	if err != nil {
		stop()
		conn.Close()
		return nil, fmt.Errorf("greeting the mail server: %w", err)
	}
	return c, nil
}

func (t *Mail) send(c *smtp.Client, m message) error {
	if t.User != "" {
		if err := c.Auth(smtp.PlainAuth("", t.User, string(t.Password.Reveal()), t.host)); err != nil {
			return fmt.Errorf("signing in: %w", err)
		}
	}
	if err := c.Mail(t.From); err != nil {
		return err
	}
	for _, to := range t.To {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(t.compose(m)); err != nil {
		return err
	}
	return w.Close()
}

// compose is the message: RFC 5322. Its id is that of the notice, so that a
// second attempt is seen to be one; RFC 3834 keeps vacations from answering.
func (t *Mail) compose(m message) []byte {
	var b bytes.Buffer
	_, domain, _ := strings.Cut(t.From, "@")
	for _, h := range []fact{
		{"From", t.From},
		{"To", strings.Join(t.To, ", ")},
		{"Subject", mime.QEncoding.Encode("utf-8", m.title())},
		{"Date", m.Time.UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + m.id() + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h.name, h.text)
	}
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	q.Write([]byte(strings.ReplaceAll(m.text(), "\n", "\r\n")))
	q.Close() // both write to memory
	return b.Bytes()
}

// Package export writes events of the audit log in the forms that collectors
// of logs take: JSON lines, syslog (RFC 5424), OTLP over HTTP.
package export

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"latchkey/kms/ledger"
)

// A Sink takes events, in order. What Close returns says whether all came
// through.
type Sink interface {
	Put(ledger.Event) error
	Close() error
}

// Forms.
const (
	JSONL  = "jsonl"
	Syslog = "syslog"
	OTLP   = "otlp"
)

// Lines writes events to w in a form that has lines.
func Lines(form string, w io.Writer) (Sink, error) {
	switch form {
	case JSONL:
		return jsonl{json.NewEncoder(w)}, nil
	case Syslog:
		return &syslog{w: w, end: "\n"}, nil
	}
	return nil, fmt.Errorf("form %.20q: want %s or %s; %s is sent to a URL", form, JSONL, Syslog, OTLP)
}

type jsonl struct{ to *json.Encoder }

// Put implements Sink.
func (j jsonl) Put(e ledger.Event) error { return j.to.Encode(e) }

// Close implements Sink.
func (jsonl) Close() error { return nil }

// A syslog writes RFC 5424 messages, with their length before them (RFC 6587,
// section 3.4.1, and RFC 5425) or with an end after them.
type syslog struct {
	w       io.Writer
	counted bool
	end     string
}

// Put implements Sink.
func (s *syslog) Put(e ledger.Event) error {
	text := Message(e)
	if s.counted {
		text = strconv.Itoa(len(text)) + " " + text
	}
	_, err := io.WriteString(s.w, text+s.end)
	return err
}

// Close implements Sink.
func (s *syslog) Close() error {
	if c, ok := s.w.(io.Closer); ok && s.end == "" {
		return c.Close()
	}
	return nil
}

// Of RFC 5424: facility "log audit", severities, and our structured data; the
// number is the one for examples and private use (RFC 5612).
const (
	facilityAudit  = 13
	severityNotice = 5
	severityInfo   = 6
	structured     = "latchkey@32473"
)

// Message is an event as a syslog message. Its text is the event as JSON.
func Message(e ledger.Event) string {
	severity := severityInfo
	if e.Status != "" && e.Status != "ok" {
		severity = severityNotice
	}
	host := "-"
	if e.Server != "" {
		host = e.Server
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s latchkey-kms - %s [%s", facilityAudit*8+severity, e.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), host, messageID(e.Event), structured)
	for _, p := range params(e) {
		fmt.Fprintf(&b, ` %s="%s"`, p.name, escaped.Replace(p.value))
	}
	text, _ := json.Marshal(e) // of plain fields
	return b.String() + "] " + string(text)
}

// escaped: RFC 5424, section 6.3.3.
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// maxMessageID is the length of MSGID: RFC 5424, section 6.
const maxMessageID = 32

// messageID is an event's name as MSGID takes it: printable, without blanks.
func messageID(event string) string {
	id := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, event)
	if id == "" {
		return "-"
	}
	return id[:min(len(id), maxMessageID)]
}

// A param is a field of an event that is not empty.
type param struct{ name, value string }

func params(e ledger.Event) (all []param) {
	volumes := make([]string, len(e.Volumes))
	for i, u := range e.Volumes {
		volumes[i] = u.String()
	}
	for _, p := range []param{
		{"seq", strconv.FormatUint(e.Seq, 10)},
		{"node", e.Node},
		{"volumes", strings.Join(volumes, " ")},
		{"status", e.Status},
		{"reason", e.Reason},
		{"from", e.From},
		{"detail", e.Detail},
		{"th2", e.TH2},
		{"server", e.Server},
	} {
		if p.value != "" {
			all = append(all, param{p.name, valid(p.value)})
		}
	}
	return all
}

// valid is text in UTF-8 without control characters: what machines sent may
// be in it.
func valid(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// unixNano is a time as OTLP has it.
func unixNano(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

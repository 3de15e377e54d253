package export

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"latchkey/kms/ledger"
)

// How long a collector may take to be reached, and to answer.
const sendWait = 30 * time.Second

// batch is how many events one request of OTLP has at most.
const batch = 500

// Send sends events to a collector: syslog to tcp://, tls:// or udp://, OTLP
// to the http(s) URL of its logs.
func Send(ctx context.Context, form, to string, pool *tls.Config) (Sink, error) {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%.80q is no URL of a collector: want tcp://, tls:// or udp://HOST:PORT for syslog, http(s)://HOST:PORT/v1/logs for OTLP", to)
	}
	switch {
	case form == OTLP && (u.Scheme == "http" || u.Scheme == "https"):
		client := &http.Client{Timeout: sendWait, Transport: &http.Transport{TLSClientConfig: pool, Proxy: http.ProxyFromEnvironment}}
		return &otlp{ctx: ctx, url: to, client: client}, nil
	case form == Syslog && (u.Scheme == "tcp" || u.Scheme == "tls" || u.Scheme == "udp"):
		w, err := dial(ctx, u, pool)
		if err != nil {
			return nil, fmt.Errorf("reaching the collector %s: %w", to, err)
		}
		return &syslog{w: w, counted: u.Scheme != "udp"}, nil
	}
	return nil, fmt.Errorf("%s cannot be sent to %.80q: want tcp://, tls:// or udp:// for syslog, http:// or https:// for OTLP", form, to)
}

func dial(ctx context.Context, u *url.URL, pool *tls.Config) (io.Writer, error) {
	d := &net.Dialer{Timeout: sendWait}
	if u.Scheme != "tls" {
		return d.DialContext(ctx, u.Scheme, u.Host)
	}
	return (&tls.Dialer{NetDialer: d, Config: pool}).DialContext(ctx, "tcp", u.Host)
}

// otlp posts events as OTLP/HTTP with JSON: OTLP 1, "OTLP/HTTP Request", and
// opentelemetry/proto/logs/v1/logs.proto.
type otlp struct {
	ctx    context.Context
	url    string
	client *http.Client
	gather []any
}

// Put implements Sink.
func (o *otlp) Put(e ledger.Event) error {
	o.gather = append(o.gather, record(e))
	if len(o.gather) < batch {
		return nil
	}
	return o.flush()
}

// Close implements Sink.
func (o *otlp) Close() error { return o.flush() }

type object = map[string]any

// severityNumber of OTLP: INFO, and INFO4 for what is worth a look.
const (
	numberInfo   = 9
	numberNotice = 12
)

// record is an event as a LogRecord.
func record(e ledger.Event) object {
	severity, text := numberInfo, "INFO"
	if e.Status != "" && e.Status != "ok" {
		severity, text = numberNotice, "INFO4"
	}
	var attributes []any
	for _, p := range params(e) {
		attributes = append(attributes, attribute("latchkey."+p.name, p.value))
	}
	body, _ := json.Marshal(e)
	return object{
		"timeUnixNano": unixNano(e.Time), "observedTimeUnixNano": unixNano(e.Time), "severityNumber": severity, "severityText": text,
		"eventName": "latchkey." + e.Event, "body": object{"stringValue": string(body)}, "attributes": attributes,
	}
}

func attribute(key, value string) object {
	return object{"key": key, "value": object{"stringValue": value}}
}

// maxAnswer bounds what a collector answers, in bytes.
const maxAnswer = 64 << 10

// flush posts what was gathered.
func (o *otlp) flush() error {
	if len(o.gather) == 0 {
		return nil
	}
	body, err := json.Marshal(object{"resourceLogs": []any{object{
		"resource":  object{"attributes": []any{attribute("service.name", "latchkey-kms")}},
		"scopeLogs": []any{object{"scope": object{"name": "latchkey/audit"}, "logRecords": o.gather}},
	}}})
	if err != nil {
		return err
	}
	n := len(o.gather)
	o.gather = nil
	r, err := http.NewRequestWithContext(o.ctx, http.MethodPost, o.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := o.client.Do(r)
	if err != nil {
		return fmt.Errorf("sending events: %w", err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("sending events to %s: %w", o.url, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("sending events to %s: HTTP status %d: %.80q", o.url, answer.StatusCode, strings.TrimSpace(string(said)))
	}
	return rejected(said, n)
}

// rejected is what a collector did not take of what it answered with success.
func rejected(said []byte, n int) error {
	var partial struct {
		PartialSuccess struct {
			Rejected json.Number `json:"rejectedLogRecords"` // an int64, in JSON as text
			Message  string      `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if len(said) > 0 && json.Unmarshal(said, &partial) != nil {
		return errors.New("the collector answered, but not as one of OTLP does: is its URL that of its logs, .../v1/logs?")
	}
	if k, _ := partial.PartialSuccess.Rejected.Int64(); k > 0 {
		return fmt.Errorf("the collector did not take %d of %d events: %.80q", k, n, partial.PartialSuccess.Message)
	}
	return nil
}

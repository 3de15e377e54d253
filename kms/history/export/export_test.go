package export_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/history/export"
	"latchkey/kms/ledger"
)

var event = ledger.Event{
	Seq: 7, Time: time.Date(2026, 11, 22, 6, 0, 0, 123456789, time.UTC), Event: "volume delete", Node: "6f3c", Status: "refused",
	From: "192.0.2.7", Detail: "a \"name\"] \\ with\nlines\x00", Volumes: []kms.UUID{{1}},
}

// The forms stand as their standards say.
func TestForms(t *testing.T) {
	const message = `<109>1 2026-11-22T06:00:00.123456Z - latchkey-kms - volume-delete [latchkey@32473 seq="7" node="6f3c" volumes="01000000-0000-0000-0000-000000000000" ` +
		`status="refused" from="192.0.2.7" detail="a \"name\"\] \\ with?lines?"] {"seq":7,`
	if got := export.Message(event); !strings.HasPrefix(got, message) || strings.ContainsAny(got, "\n\x00") {
		t.Errorf("Message = %s\nwant %s…", got, message)
	}
	if got := export.Message(ledger.Event{Event: "get", Status: "ok", Server: "00c0ffee", Detail: strings.Repeat("x", 9)}); !strings.HasPrefix(got, "<110>1 0001-01-01T00:00:00.000000Z 00c0ffee latchkey-kms - get [") {
		t.Errorf("Message = %s", got)
	}
	if got := export.Message(ledger.Event{Event: strings.Repeat("a b", 20)}); !strings.Contains(got, " - "+strings.Repeat("a-b", 20)[:32]+" [") {
		t.Errorf("Message = %s", got)
	}

	var out bytes.Buffer
	for _, form := range []string{export.JSONL, export.Syslog} {
		s, err := export.Lines(form, &out)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(event); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	lines := strings.Split(out.String(), "\n")
	var got ledger.Event
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil || got.Seq != 7 || len(lines) != 3 || lines[1] != export.Message(event) {
		t.Errorf("wrote %q", lines)
	}
	for _, bad := range []string{"xml", export.OTLP} {
		if _, err := export.Lines(bad, &out); err == nil {
			t.Errorf("Lines(%q) succeeded", bad)
		}
	}
}

// Over TCP each message has its length before it.
func TestSyslogOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer conn.Close()
		b, _ := io.ReadAll(conn)
		got <- string(b)
	}()
	s, err := export.Send(t.Context(), export.Syslog, "tcp://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Put(event); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m := export.Message(event)
	one := strconv.Itoa(len(m)) + " " + m
	if text := <-got; text != one+one {
		t.Errorf("sent %q, want %q twice", text, one)
	}
}

// OTLP is what its protocol file says, in JSON: camel case, 64-bit numbers as
// text. What a collector does not take is an error.
func TestOTLP(t *testing.T) {
	var bodies []map[string]any
	status, answer := 200, "{}"
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Content-Type") != "application/json" || r.URL.Path != "/v1/logs" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		bodies = append(bodies, body)
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer web.Close()
	send := func(n int) error {
		s, err := export.Send(t.Context(), export.OTLP, web.URL+"/v1/logs", nil)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := s.Put(event); err != nil {
				return err
			}
		}
		return s.Close()
	}
	if err := send(501); err != nil || len(bodies) != 2 {
		t.Fatalf("501 events took %d requests, %v, want 2", len(bodies), err)
	}
	scope := bodies[1]["resourceLogs"].([]any)[0].(map[string]any)["scopeLogs"].([]any)[0].(map[string]any)
	record := scope["logRecords"].([]any)[0].(map[string]any)
	if record["timeUnixNano"] != "1795327200123456789" || record["severityNumber"] != 12.0 || record["eventName"] != "latchkey.volume delete" {
		t.Errorf("the record is %v", record)
	}
	if first := record["attributes"].([]any)[1].(map[string]any); first["key"] != "latchkey.node" || first["value"].(map[string]any)["stringValue"] != "6f3c" {
		t.Errorf("an attribute is %v", first)
	}
	for _, row := range []struct {
		status int
		answer string
		says   string
	}{
		{503, "later\nplease", "HTTP status 503"},
		{200, "<html>", "not as one of OTLP does"},
		{200, `{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}`, `did not take 3 of 5 events: "too old"`},
	} {
		status, answer = row.status, row.answer
		if err := send(5); err == nil || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d %q: %v, want one line with %q", row.status, row.answer, err, row.says)
		}
	}
}

// A wrong URL is told in one line, before anything is sent.
func TestWrongURL(t *testing.T) {
	for form, urls := range map[string][]string{export.Syslog: {"", "localhost:514", "http://h/", "tcp:///x"}, export.OTLP: {"tcp://h:1", "h"}, export.JSONL: {"http://h/"}} {
		for _, to := range urls {
			if _, err := export.Send(t.Context(), form, to, nil); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("Send(%q, %q) = %v, want one line", form, to, err)
			}
		}
	}
}

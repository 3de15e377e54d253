package hook_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/server/hook"
)

// hostile is what a machine that nobody knows may say of itself.
var hostile = hook.Notice{
	Seq: 8, Event: "get", Status: "pending", Words: "copper lantern drift meadow quiet anvil", From: "192.0.2.7",
	Detail: "<!channel> <https://evil.example|click> [click](https://evil.example)\r\nBcc: x@example.org\x1b[2J\u202e",
}

// heard is a request as a service got it.
type heard struct {
	method, path string
	header       http.Header
	body         string
}

// tellOnce tells one notice to a preset, and returns the request.
func tellOnce(t *testing.T, preset string, c hook.Chat, n hook.Notice) heard {
	t.Helper()
	got := make(chan heard, 1)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- heard{r.Method, r.URL.EscapedPath(), r.Header, string(body)}
	}))
	defer web.Close()
	c.URL = web.URL + c.URL
	target, err := hook.NewChat(preset, c)
	if err != nil {
		t.Fatal(err)
	}
	set, _ := start(t, target, hook.All)
	set.Tell(n)
	return wait(t, got)
}

// decode reads JSON that has the keys of v and no others: what the services'
// pages document.
func decode(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func TestNtfy(t *testing.T) {
	h := tellOnce(t, hook.Ntfy, hook.Chat{URL: "/kms", Secret: secret.Own([]byte("tk_1"))}, hostile)
	if h.method != "POST" || h.path != "/kms" || h.header.Get("Authorization") != "Bearer tk_1" || h.header.Get("Priority") != "high" {
		t.Errorf("%+v", h)
	}
	if got, want := h.header.Get("Title"), "A machine waits: "+hostile.Words; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	if want := "latchkey-kms node approve " + hostile.Words; !strings.Contains(h.body, want) || strings.Contains(h.body, "\x1b") || strings.Contains(h.body, "\nBcc") {
		t.Errorf("body %q", h.body)
	}
	linked := hostile
	linked.Link = "https://kms.example.org/machines/6f"
	if h := tellOnce(t, hook.Ntfy, hook.Chat{URL: "/kms"}, linked); h.header.Get("Click") != linked.Link || !strings.Contains(h.body, "look at it: "+linked.Link+"\n") {
		t.Errorf("with a link: %+v", h)
	}
	if h := tellOnce(t, hook.Ntfy, hook.Chat{URL: "/kms"}, hook.Notice{Seq: 1, Event: "release add"}); h.header.Get("Authorization") != "" || h.header.Get("Click") != "" || h.header.Get("Title") != "latchkey: release add" {
		t.Errorf("%+v", h)
	}
}

// Nobody is called and nothing is a link by what a machine says.
func TestSlack(t *testing.T) {
	h := tellOnce(t, hook.Slack, hook.Chat{URL: "/services/T0/B0/canary"}, hostile)
	var m struct {
		Text   string `json:"text"`
		Mrkdwn bool   `json:"mrkdwn"`
	}
	decode(t, h.body, &m)
	if h.method != "POST" || h.path != "/services/T0/B0/canary" || m.Mrkdwn || strings.ContainsAny(m.Text, "<>") || !strings.Contains(m.Text, "&lt;!channel&gt;") {
		t.Errorf("%+v: %q", h, m.Text)
	}
}

func TestMatrix(t *testing.T) {
	h := tellOnce(t, hook.Matrix, hook.Chat{URL: "/", Room: "!abc/d:example.org", Secret: secret.Own([]byte("syt_1"))}, hostile)
	var m struct {
		Type     string              `json:"msgtype"`
		Body     string              `json:"body"`
		Mentions map[string][]string `json:"m.mentions"`
	}
	decode(t, h.body, &m)
	const path = "/_matrix/client/v3/rooms/%21abc%2Fd:example.org/send/m.room.message/msg_8_"
	if h.method != "PUT" || !strings.HasPrefix(h.path, path) || h.header.Get("Authorization") != "Bearer syt_1" {
		t.Errorf("%s %s %v", h.method, h.path, h.header)
	}
	if m.Type != "m.text" || m.Mentions == nil || len(m.Mentions) > 0 || !strings.HasPrefix(m.Body, "A machine waits: copper") {
		t.Errorf("%+v", m)
	}
}

// An adaptive card of text runs, which know no Markdown.
func TestTeams(t *testing.T) {
	h := tellOnce(t, hook.Teams, hook.Chat{URL: "/workflows/1?sig=canary"}, hostile)
	var m struct {
		Type        string `json:"type"`
		Attachments []struct {
			ContentType string `json:"contentType"`
			Content     struct {
				Schema  string `json:"$schema"`
				Type    string `json:"type"`
				Version string `json:"version"`
				Body    []struct {
					Type    string `json:"type"`
					Inlines []struct{ Type, Text, Weight string }
				} `json:"body"`
			} `json:"content"`
		} `json:"attachments"`
	}
	decode(t, h.body, &m)
	if m.Type != "message" || len(m.Attachments) != 1 || m.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" {
		t.Fatalf("%s", h.body)
	}
	card := m.Attachments[0].Content
	if card.Type != "AdaptiveCard" || card.Version != "1.4" || len(card.Body) < 4 || card.Body[0].Inlines[0].Text != "A machine waits: "+hostile.Words {
		t.Errorf("%+v", card)
	}
	for _, b := range card.Body {
		if b.Type != "RichTextBlock" || len(b.Inlines) != 1 || b.Inlines[0].Type != "TextRun" {
			t.Errorf("%+v is text that Markdown may be in", b)
		}
	}
}

// A webhook's path is its key: the log has neither.
func TestChatKeepsItsKey(t *testing.T) {
	for _, preset := range []string{hook.Slack, hook.Teams} {
		web := httptest.NewServer(http.NotFoundHandler())
		target, err := hook.NewChat(preset, hook.Chat{URL: web.URL + "/canary?sig=canary"})
		if err != nil {
			t.Fatal(err)
		}
		set, log := start(t, target, hook.All)
		set.Tell(pending)
		waitFor(t, func() bool { return strings.Contains(log(), "hook failed") })
		web.Close()
		if text := log(); strings.Contains(text, "canary") || strings.Contains(target.String(), "canary") {
			t.Errorf("%s: log %q, target %s", preset, text, target)
		}
	}
}

func TestChatsThatAreNone(t *testing.T) {
	token := secret.Own([]byte("x"))
	for _, row := range []struct {
		name, preset string
		chat         hook.Chat
	}{
		{"no URL", hook.Slack, hook.Chat{}},
		{"unknown", "irc", hook.Chat{URL: "https://x.example"}},
		{"a room's alias", hook.Matrix, hook.Chat{URL: "https://x.example", Room: "#a:x.example", Secret: token}},
		{"Matrix without a token", hook.Matrix, hook.Chat{URL: "https://x.example", Room: "!a:x.example"}},
	} {
		if _, err := hook.NewChat(row.preset, row.chat); err == nil {
			t.Errorf("%s: taken", row.name)
		}
	}
}

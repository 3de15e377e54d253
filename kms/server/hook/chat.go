package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"latchkey/internal/secret"
)

// Presets are the services that are told in their own words, without a
// program in between.
const (
	Ntfy   = "ntfy"   // docs.ntfy.sh/publish
	Slack  = "slack"  // an incoming webhook
	Matrix = "matrix" // a room, by an access token
	Teams  = "teams"  // a workflow's webhook, with an adaptive card
	Email  = "email"  // SMTP
)

// Presets lists them.
func Presets() []string { return []string{Ntfy, Slack, Matrix, Teams, Email} }

// Chat says where a preset's messages go.
type Chat struct {
	URL    string       // of ntfy: the topic; of Matrix: the home server; of others: the webhook
	Room   string       // of Matrix: !id:server
	Secret secret.Bytes // an access token; ntfy may have none, webhooks have theirs in the URL
}

// NewChat is a target of a preset other than Email.
func NewChat(preset string, c Chat) (*Web, error) {
	w, err := newWeb(c.URL)
	if err != nil {
		return nil, err
	}
	switch preset {
	case Ntfy:
		w.request = c.ntfy
	case Slack:
		w.request, w.bare = c.slack, true
	case Teams:
		w.request, w.bare = c.teams, true
	case Matrix:
		if !strings.HasPrefix(c.Room, "!") {
			return nil, fmt.Errorf("%.64q is no room's id, as !id:server: an alias (#name:server) may change its owner", c.Room)
		}
		if c.Secret.Len() == 0 {
			return nil, errors.New("an access token is missing")
		}
		w.request = c.matrix
	default:
		return nil, fmt.Errorf("%.64q is no service that is known", preset)
	}
	return w, nil
}

// authorize adds the token, if there is one.
func (c Chat) authorize(r *http.Request) {
	if c.Secret.Len() > 0 {
		r.Header.Set("Authorization", "Bearer "+string(c.Secret.Reveal()))
	}
}

// ntfy is a message by headers, its text in the body: docs.ntfy.sh/publish.
func (c Chat) ntfy(m message, _ time.Time) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodPost, c.URL, strings.NewReader(m.text()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Title", ascii(m.title()))
	r.Header.Set("Tags", "lock")
	if m.Status == "pending" {
		r.Header.Set("Priority", "high")
	}
	if m.Link != "" {
		r.Header.Set("Click", m.Link)
	}
	c.authorize(r)
	return r, nil
}

// slack is text in Slack's own markup, of which only three characters mean
// something: docs.slack.dev/messaging/formatting-message-text.
func (c Chat) slack(m message, _ time.Time) (*http.Request, error) {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	return post(http.MethodPost, c.URL, map[string]any{"text": escape.Replace(m.title() + "\n" + m.text()), "mrkdwn": false})
}

// matrix sends an event of a room, under an id that makes a second attempt no
// second message: Matrix client-server API 1.11, "PUT /send".
func (c Chat) matrix(m message, _ time.Time) (*http.Request, error) {
	to := strings.TrimSuffix(c.URL, "/") + "/_matrix/client/v3/rooms/" + url.PathEscape(c.Room) + "/send/m.room.message/" + m.id()
	r, err := post(http.MethodPut, to, map[string]any{"msgtype": "m.text", "body": m.title() + "\n" + m.text(), "m.mentions": map[string]any{}})
	if err != nil {
		return nil, err
	}
	c.authorize(r)
	return r, nil
}

// teams sends an adaptive card of version 1.4. Its text runs know no Markdown,
// so that no word of a machine becomes a link.
func (c Chat) teams(m message, _ time.Time) (*http.Request, error) {
	type block = map[string]any
	run := func(text, weight string) block {
		return block{"type": "RichTextBlock", "inlines": []block{{"type": "TextRun", "text": text, "weight": weight}}}
	}
	body := []block{run(m.title(), "Bolder")}
	for _, f := range m.facts() {
		body = append(body, run(f.name+": "+f.text, "Default"))
	}
	card := block{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body}
	return post(http.MethodPost, c.URL, block{
		"type": "message", "attachments": []block{{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}},
	})
}

// post is a request with JSON.
func post(method, to string, body any) (*http.Request, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(method, to, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return r, nil
}

// ascii is what a header may hold.
func ascii(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}

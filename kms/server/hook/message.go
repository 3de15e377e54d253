package hook

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// A message is a notice as it is told: once, or again with the same id.
type message struct {
	Notice
	body []byte // JSON
}

// id names a message, for receivers that want each once.
func (m message) id() string {
	sum := sha256.Sum256(m.body)
	return fmt.Sprintf("msg_%d_%s", m.Seq, hex.EncodeToString(sum[:8]))
}

// payload is the body that Standard Webhooks 1.0.0 recommends ("Payload
// structure"): a type in words with full stops between, a time, the data.
func (m message) payload() ([]byte, error) {
	return json.Marshal(struct {
		Type string          `json:"type"`
		Time time.Time       `json:"timestamp"`
		Data json.RawMessage `json:"data"`
	}{strings.ReplaceAll(m.Event, " ", "."), m.Time, m.body})
}

// title is one line for people.
func (m message) title() string {
	switch {
	case m.Status == "pending" && m.Words+m.Node == "":
		return plain("A machine waits at " + m.From)
	case m.Status == "pending":
		return "A machine waits: " + plain(cmp.Or(m.Words, m.Node))
	case m.Words != "":
		return plain("latchkey: " + m.what() + ": " + m.Words)
	}
	return plain("latchkey: " + m.what())
}

// what happened, and what the machine was told of it.
func (m message) what() string {
	if m.Status == "" {
		return m.Event
	}
	return m.Event + ", " + m.Status
}

// A fact is one line of a message.
type fact struct{ name, text string }

// facts are what a message says beneath its title.
func (m message) facts() (all []fact) {
	for _, f := range []fact{
		{"words", m.Words},
		{"event", m.what()},
		{"rule", m.Reason},
		{"from", m.From},
		{"detail", m.Detail},
		{"node", m.Node},
		{"number", fmt.Sprint(m.Seq)},
		{"time", m.Time.UTC().Format(time.RFC3339)},
	} {
		if f.text != "" {
			all = append(all, fact{f.name, plain(f.text)})
		}
	}
	if m.Link != "" {
		all = append(all, fact{"look at it", plain(m.Link)})
	}
	if m.Status == "pending" && m.Event == "get" && m.Words != "" {
		all = append(all, fact{"if its console shows these words", "latchkey-kms node approve " + plain(m.Words)})
	}
	return all
}

// text is the facts as lines.
func (m message) text() string {
	var b strings.Builder
	for _, f := range m.facts() {
		fmt.Fprintf(&b, "%s: %s\n", f.name, f.text)
	}
	return b.String()
}

// plain is one line of at most maxText bytes: what it says may come from
// machines that nobody knows.
func plain(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsGraphic(c) && c != unicode.ReplacementChar {
			return c
		}
		return '?'
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}

const maxText = 500

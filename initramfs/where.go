package initramfs

import (
	"errors"
	"maps"
	"regexp"
	"strings"

	"latchkey/internal/plan"
)

// keyWord is a key's path, as in volumes[0].uuid, with which a message begins.
var keyWord = regexp.MustCompile(`^[a-z][a-z0-9-]*(\[[0-9]+\])?(\.[a-z0-9-]+(\[[0-9]+\])?)*`)

// locate puts the file and the line before an error that begins with a key,
// as those of plan.Plan.Check do: "volumes[0]: uuid is …" is about
// volumes[0].uuid. What the plan
// lacks has the file alone, and an error that is about no key is left alone.
func (c *Config) locate(err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), plan.ErrInvalid.Error()+": ")
	key := keyWord.FindString(text)
	for rest, more := strings.CutPrefix(text[len(key):], ": "); more; {
		word := keyWord.FindString(rest)
		if _, known := c.lines[key+"."+word]; !known {
			break
		}
		key += "." + word
		rest, more = strings.CutPrefix(rest[len(word):], ": ")
	}

	at, known := c.lines.Of(key)
	switch {
	case !known && !errors.Is(err, plan.ErrInvalid):
		return err
	case !known:
		at = c.file
	}
	return &located{at + ": " + text, err}
}

// A located error says its own text, and is what the cause is.
type located struct {
	text  string
	cause error
}

func (l *located) Error() string { return l.text }
func (l *located) Unwrap() error { return l.cause }

// alias is what the plan calls a key: messages about it have the line of the
// first that stands for it.
func (c *Config) alias(name, path string) {
	for key, at := range maps.Clone(c.lines) {
		rest, below := strings.CutPrefix(key, path)
		if _, there := c.lines[name+rest]; below && !there && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			c.lines[name+rest] = at
		}
	}
}

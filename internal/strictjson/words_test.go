package strictjson_test

import (
	"strings"
	"testing"

	"latchkey/internal/strictjson"
)

// TestWords: no error of a reader is in words of Go.
func TestWords(t *testing.T) {
	type below struct {
		PCRs  []int `json:"pcrs"`
		Count uint8 `json:"count"`
	}
	type whole struct {
		User below  `json:"user"`
		Raw  []byte `json:"raw"`
		On   bool   `json:"on"`
		Name string `json:"name"`
	}
	keys := []string{"user", "pcrs", "count", "raw", "on", "name"}
	for _, row := range []struct{ text, want string }{
		{`{"user":{"pcrs":"7"}}`, "user.pcrs is a text, want a list"},
		{`{"user":{"pcrs":["7"]}}`, "user.pcrs is a text, want a whole number"},
		{`{"user":{"pcrs":[1.5]}}`, "user.pcrs is number 1.5, want a whole number"},
		{`{"user":{"count":300}}`, "user.count is number 300, want a whole number from 0 on"},
		{`{"user":[]}`, "user is a list, want an object"},
		{`{"raw":7}`, "raw is a number, want base64"},
		{`{"raw":"?"}`, "a text is no base64 at byte 0"},
		{`{"on":"yes"}`, "on is a text, want true or false"},
		{`{"name":{}}`, "name is an object, want a text"},
		{`{"name":tru}`, "it is no JSON near byte "},
		{`{"name":"a"`, "it ends too early"},
		{`{"name"`, "it ends too early"},
		{`{"name":"a" "b"}`, "it is no JSON near byte "},
	} {
		var known, all whole
		for _, err := range []error{strictjson.DecodeKnown([]byte(row.text), &known, keys...), strictjson.Decode(strings.NewReader(row.text), &all)} {
			if err == nil || !strings.HasSuffix(strings.TrimRight(err.Error(), "0123456789"), strings.TrimRight(row.want, "0123456789")) {
				t.Errorf("%s: %v, want %q", row.text, err, row.want)
				continue
			}
			for _, word := range []string{"Go", "unmarshal", "EOF", "illegal", "literal", "struct"} {
				if strings.Contains(err.Error(), word) {
					t.Errorf("%s: %v has the word %q", row.text, err, word)
				}
			}
		}
	}
}

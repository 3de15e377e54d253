package kairos

import (
	"encoding/json"
	"testing"
)

// peers I10: base64 has one form.
func TestBase64(t *testing.T) {
	for _, row := range []struct {
		name, text string
		ok         bool
	}{
		{"plain", `"AAAA"`, true},
		{"padded", `"AA=="`, true},
		{"line break", `"AA\nAA"`, false},
		{"carriage return", `"AAAA\r"`, false},
		{"stray bits", `"AB=="`, false},
		{"of URLs", `"__-_"`, false},
		{"no padding", `"AA"`, false},
	} {
		var b text64
		if err := json.Unmarshal([]byte(row.text), &b); (err == nil) != row.ok {
			t.Errorf("%s: %v, want ok %t", row.name, err, row.ok)
		}
	}
}

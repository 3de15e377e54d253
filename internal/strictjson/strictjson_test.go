package strictjson_test

import (
	"strings"
	"testing"

	"latchkey/internal/strictjson"
)

// What two readers could understand differently is refused; what another
// version of their client may add is not.
type quote struct {
	Version string            `json:"version"`
	PCRs    map[string][]byte `json:"pcrs"`
}

type message struct {
	Secret []byte `json:"secret"`
	Quote  quote  `json:"pcr_quote"`
}

func TestDecodeKnown(t *testing.T) {
	for _, row := range []struct {
		name, message string
		ok            bool
	}{
		{"plain", `{"secret":"AAAA"}`, true},
		{"newline after", "{\"secret\":\"AAAA\"}\n", true},
		{"unknown key", `{"secret":"AAAA","more":[1]}`, true},
		{"key twice", `{"secret":"AAAA","secret":"AAAA"}`, false},
		{"key twice in other case", `{"secret":"AAAA","Secret":"AAAA"}`, false},
		{"key in other case", `{"SECRET":"AAAA"}`, false},
		{"key that folds to ours", `{"ſecret":"AAAA"}`, false},
		{"twice below", `{"pcr_quote":{"pcrs":{"0":"","0":""}}}`, false},
		{"something after", `{"secret":"AAAA"}{}`, false},
		{"array", `[]`, false},
		{"null", `null`, false},
		{"empty", ``, false},
		{"cut", `{"secret":"AA`, false},
		{"string for object", `{"pcr_quote":"{}"}`, false},
		{"depth 8", strings.Repeat(`{"a":`, 8) + "1" + strings.Repeat("}", 8), true},
		{"depth 9", strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9), false},
	} {
		var m message
		if err := strictjson.DecodeKnown([]byte(row.message), &m, "secret", "pcr_quote", "pcrs"); (err == nil) != row.ok {
			t.Errorf("%s: strictjson.DecodeKnown(%q) = %v, want ok %v", row.name, row.message, err, row.ok)
		}
	}
}

package spelling_test

import (
	"testing"

	"latchkey/internal/spelling"
)

// A key that is misspelled is answered with the one that was meant.
func TestSuggest(t *testing.T) {
	names := []string{"address", "tls", "protocols", "trusted-proxies"}
	for key, want := range map[string]string{
		"adress":          `; did you mean "address"?`,
		"Address":         `; did you mean "address"?`,
		"protocol":        `; did you mean "protocols"?`,
		"trusted_proxies": `; did you mean "trusted-proxies"?`,
		"x":               "; known here: address, tls, protocols, trusted-proxies",
		"":                "; known here: address, tls, protocols, trusted-proxies",
	} {
		if got := spelling.Suggest(key, names); got != want {
			t.Errorf("spelling.Suggest(%q) = %q, want %q", key, got, want)
		}
	}
}

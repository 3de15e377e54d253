package clevis

import (
	"strings"
	"testing"
)

// TestURL: what people gave clevis, as curl takes it.
func TestURL(t *testing.T) {
	for _, row := range []struct{ url, at, prefix, says string }{
		{"https://tang.example", "", "", `"https://tang.example": the plan does not say how to know a server over TLS`},
		{"ftp://tang", "", "", "want http:// or https://"},
	} {
		at, prefix, err := parseURL(row.url, false)
		if at != row.at || prefix != row.prefix || err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("parseURL(%q) = %q, %q, %v, want %q, %q, %q", row.url, at, prefix, err, row.at, row.prefix, row.says)
		}
	}
	for _, row := range []struct{ url, at, prefix, says string }{
		{"http://tang.local", "http://tang.local:80", "", ""},
		{"tang.example", "http://tang.example:80", "", ""},
		{"192.0.2.7:7500", "http://192.0.2.7:7500", "", ""},
		{"HTTP://tang/", "http://tang:80", "", ""},
		{"http://[2001:db8::7]", "http://[2001:db8::7]:80", "", ""},
		{"http://[2001:db8::7]:81/a/b/", "http://[2001:db8::7]:81", "/a/b", ""},
		{"https://tang.example", "https://tang.example:443", "", ""},
		{"HTTPS://tang.example:8443/a", "https://tang.example:8443", "/a", ""},
		{"http://", "", "", "host"},
		{"http://user@tang", "", "", "not allowed"},
		{"http://tang:0", "", "", "not a port"},
		{"http://tang/a b", "", "", "odd letters"},
		{"http://tang/a\r\nHost: x", "", "", "odd letters"},
		{"http://tang/?a", "", "", "odd letters"},
	} {
		at, prefix, err := parseURL(row.url, true)
		if at != row.at || prefix != row.prefix || (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("parseURL(%q) = %q, %q, %v, want %q, %q, %q", row.url, at, prefix, err, row.at, row.prefix, row.says)
		}
	}
}

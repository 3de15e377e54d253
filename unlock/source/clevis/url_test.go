package clevis

import (
	"strings"
	"testing"
)

// TestURL: what people gave clevis, as curl takes it.
func TestURL(t *testing.T) {
	for _, row := range []struct{ url, at, prefix, says string }{
		{"http://tang.local", "http://tang.local:80", "", ""},
		{"tang.example", "http://tang.example:80", "", ""},
		{"192.0.2.7:7500", "http://192.0.2.7:7500", "", ""},
		{"HTTP://tang/", "http://tang:80", "", ""},
		{"http://[2001:db8::7]", "http://[2001:db8::7]:80", "", ""},
		{"http://[2001:db8::7]:81/a/b/", "http://[2001:db8::7]:81", "/a/b", ""},
		{"https://tang.example", "", "", `"https://tang.example": there is no TLS here, and what tang says needs none: let it answer plain HTTP too, then clevis luks edit`},
		{"ftp://tang", "", "", "want http://"},
		{"http://", "", "", "host"},
		{"http://user@tang", "", "", "not allowed"},
		{"http://tang:0", "", "", "not a port"},
		{"http://tang/a b", "", "", "odd letters"},
		{"http://tang/a\r\nHost: x", "", "", "odd letters"},
		{"http://tang/?a", "", "", "odd letters"},
	} {
		at, prefix, err := parseURL(row.url)
		if at != row.at || prefix != row.prefix || (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("parseURL(%q) = %q, %q, %v, want %q, %q, %q", row.url, at, prefix, err, row.at, row.prefix, row.says)
		}
	}
}

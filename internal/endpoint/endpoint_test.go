package endpoint_test

import (
	"errors"
	"fmt"
	"testing"

	"latchkey/internal/endpoint"
)

func ExampleParseURL() {
	e, err := endpoint.ParseURL("http://kms.local")
	fmt.Println(e.Address(), err)
	_, err = endpoint.ParseURL("kms.local")
	fmt.Println(err)
	// Output:
	// kms.local:7741 <nil>
	// it must begin with http://
}

func TestParseURL(t *testing.T) {
	for _, tt := range []struct{ url, want string }{ // "" is an error
		{"http://kms.local", "kms.local:7741"},
		{"http://kms.local.:80/", "kms.local.:80"},
		{"http://kms", "kms:7741"},
		{"http://kms_1.example.com:65535", "kms_1.example.com:65535"},
		{"http://192.0.2.5:30000", "192.0.2.5:30000"},
		{"http://127.0.0.1", "127.0.0.1:7741"},
		{"http://[2001:db8::5]", "[2001:db8::5]:7741"},
		{"http://[fe80::1%25eth0]:1", "[fe80::1%eth0]:1"},
		{"http://[::ffff:192.0.2.5]", "[::ffff:192.0.2.5]:7741"},
		{"", ""},
		{"kms.local", ""},
		{"https://kms.local", ""},
		{"http://kms.local/path", ""},
		{"http://user@kms.local", ""},
		{"http://kms.local?x=1", ""},
		{"http://192.0.2.1:77410", ""},
		{"http://kms.local:0", ""},
		{"http://kms.local:", ""},
		{"http://0.0.0.0", ""},
		{"http://255.255.255.255", ""},
		{"http://[::ffff:224.0.0.1]", ""},
		{"http://127.1", ""},
		{"http://2001:db8::5", ""},
		{"http://[kms.local]", ""},
		{"http://-kms.local", ""},
		{"http://kms..local", ""},
	} {
		e, err := endpoint.ParseURL(tt.url)
		if got := e.Address(); tt.want != "" && (err != nil || got != tt.want) || tt.want == "" && err == nil {
			t.Errorf("ParseURL(%q) = %s, %v, want %q", tt.url, got, err, tt.want)
		}
	}
}

func TestCheckService(t *testing.T) {
	for s, want := range map[string]error{
		"_latchkey._tcp": nil, "_kcrypt._tcp": nil, "_0123456789abcde._tcp": nil, "_a-1._tcp": nil,
		"": errAny, "_Latchkey._TCP": errAny, "latchkey._tcp": errAny, "_latchkey": errAny, "_latchkey._udp": errAny, "_._tcp": errAny, "_123._tcp": errAny,
		"_-a._tcp": errAny, "_a-._tcp": errAny, "_0123456789abcdef._tcp": errAny, "_x.y._tcp": errAny, "_latchkey._tcp.local": errAny, "_a b._tcp": errAny,
	} {
		if got := endpoint.CheckService(s); (got == nil) != (want == nil) {
			t.Errorf("CheckService(%q) = %v, want %v", s, got, want)
		}
	}
}

var errAny = errors.New("an error")

// FuzzParseURL: what is taken comes back from what it prints.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"http://kms.local", "http://[fe80::1%25eth0]:7741/", "http://192.0.2.1:1", "https://x", "http://user@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := endpoint.ParseURL(s)
		if err != nil {
			return
		}
		if again, err := endpoint.ParseURL(e.String()); err != nil || again != e {
			t.Errorf("ParseURL(%q) = %v, which reads back as %v, %v", s, e, again, err)
		}
	})
}

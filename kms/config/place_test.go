package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePlace(t *testing.T) {
	files := Place{CA: "ca", Cert: "cert", Key: "key"}
	for _, row := range []struct {
		name, text string
		want       Place
	}{
		{"a file", "bolt:/srv/kms.db", Place{Kind: Bolt, Path: "/srv/kms.db"}},
		{"one scheme for all", "etcd:https://a:2379,b:23790/fleet/one", Place{Kind: Etcd, Endpoints: []string{"https://a:2379", "https://b:23790"}, Prefix: "fleet/one"}},
		{"schemes, ports and a prefix by default", "etcd:https://a,http://b", Place{Kind: Etcd, Endpoints: []string{"https://a:2379", "http://b:2379"}, Prefix: "latchkey"}},
		{"IPv6", "etcd:https://[2001:db8::1],[2001:db8::2]:1", Place{Kind: Etcd, Endpoints: []string{"https://[2001:db8::1]:2379", "https://[2001:db8::2]:1"}, Prefix: "latchkey"}},
		{"parameters", "etcd:https://a?max-txn-ops=1000", Place{Kind: Etcd, Endpoints: []string{"https://a:2379"}, Prefix: "latchkey", MaxOps: 1000}},
		{"a namespace", "kube:keys", Place{Kind: Kube, Namespace: "keys", Name: "latchkey"}},
		{"a name", "kube:keys/fleet?server=https://192.0.2.9:6443&token=t", Place{Kind: Kube, Namespace: "keys", Name: "fleet", Server: "https://192.0.2.9:6443", Token: "t"}},
	} {
		row.want.CA, row.want.Cert, row.want.Key = "ca", "cert", "key"
		got, err := ParsePlace(row.text, files)
		if diff := cmp.Diff(row.want, got); err != nil || diff != "" {
			t.Errorf("%s: ParsePlace(%q) = %v (-want +got):\n%s", row.name, row.text, err, diff)
		}
	}
}

// FuzzPlace: what is taken is taken again as it is printed.
func FuzzPlace(f *testing.F) {
	for _, seed := range []string{"bolt:/x", "etcd:https://a:1,b/p", "etcd:https://[::1]", "kube:a/b", "etcd:https://a?ca=%zz", "etcd:https://a@b", "etcd:https://a/b//c", "kube:a?server=x", "etcd:https://,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlace(text, Place{})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("ParsePlace(%q) = more than one line: %v", text, err)
			}
			return
		}
		again, err := ParsePlace(p.String(), Place{})
		if err != nil || again.String() != p.String() {
			t.Errorf("ParsePlace(%q) prints %q, which gives %v, %v", text, p, again, err)
		}
	})
}

// What is wrong with a place is said with what would be right.
func TestWrongPlace(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", "must be bolt:PATH or etcd:"},
		{"a path", "/srv/kms.db", "must be bolt:PATH or etcd:"},
		{"another kind", "redis:x", "must be bolt:PATH or etcd:"},
		{"no file", "bolt:", "name the file: bolt:/var/lib/latchkey-kms/kms.db"},
		{"no scheme", "etcd:a:2379", "addresses of etcd begin with https://"},
		{"another scheme", "etcd:ftp://a", "addresses of etcd begin with https://"},
		{"a user", "etcd:https://u@a:2379", "is not HOST:PORT"},
		{"no host", "etcd:https://", "is not HOST:PORT"},
		{"a path that climbs", "etcd:https://a/../b", "the prefix may have letters"},
		{"a prefix with spaces", "etcd:https://a/my keys", "the prefix may have letters"},
		{"a parameter that there is not", "etcd:https://a?pass=x", `there is no parameter "pass"`},
		{"no parameter", "etcd:https://a?%zz", "is not key=value"},
		{"a certificate without key", "etcd:https://a?cert=c", "a client certificate and its key belong together"},
		{"too few operations", "etcd:https://a?max-txn-ops=31", "max-txn-ops must be 32 to 100000"},
		{"operations that are none", "etcd:https://a?max-txn-ops=many", "max-txn-ops must be 32 to 100000"},
		{"a namespace in capitals", "kube:Keys", "small letters, digits and dashes"},
		{"no namespace", "kube:", "small letters, digits and dashes"},
		{"a name too long", "kube:keys/" + strings.Repeat("a", 31), "small letters, digits and dashes"},
		{"an API server in clear", "kube:keys?server=http://192.0.2.9", "server is a URL that begins with https://"},
	} {
		_, err := ParsePlace(row.text, Place{})
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "store \"") {
			t.Errorf("%s: ParsePlace(%q) = %v, want %q", row.name, row.text, err, row.want)
		}
	}
}

// Only a file is one server's alone.
func TestShared(t *testing.T) {
	for text, want := range map[string]bool{"bolt:/x": false, "etcd:https://a": true, "kube:keys": true} {
		if p, err := ParsePlace(text, Place{}); err != nil || p.Shared() != want {
			t.Errorf("ParsePlace(%q).Shared() = %t, %v, want %t", text, p.Shared(), err, want)
		}
	}
}

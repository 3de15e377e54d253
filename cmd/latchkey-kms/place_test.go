package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePlace(t *testing.T) {
	files := storeSection{CA: "ca", Certificate: "cert", Key: "key"}
	for _, row := range []struct {
		name, text string
		want       place
	}{
		{"a file", "bolt:/srv/kms.db", place{kind: "bolt", path: "/srv/kms.db"}},
		{"one scheme for all", "etcd:https://a:2379,b:23790/fleet/one", place{kind: "etcd", endpoints: []string{"https://a:2379", "https://b:23790"}, prefix: "fleet/one"}},
		{"schemes, ports and a prefix by default", "etcd:https://a,http://b", place{kind: "etcd", endpoints: []string{"https://a:2379", "http://b:2379"}, prefix: "latchkey"}},
		{"IPv6", "etcd:https://[2001:db8::1],[2001:db8::2]:1", place{kind: "etcd", endpoints: []string{"https://[2001:db8::1]:2379", "https://[2001:db8::2]:1"}, prefix: "latchkey"}},
		{"parameters", "etcd:https://a?max-txn-ops=1000", place{kind: "etcd", endpoints: []string{"https://a:2379"}, prefix: "latchkey", maxOps: 1000}},
		{"a namespace", "kube:keys", place{kind: "kube", namespace: "keys", name: "latchkey"}},
		{"a name", "kube:keys/fleet?server=https://192.0.2.9:6443&token=t", place{kind: "kube", namespace: "keys", name: "fleet", server: "https://192.0.2.9:6443", token: "t"}},
	} {
		row.want.ca, row.want.cert, row.want.key = "ca", "cert", "key"
		got, err := parsePlace(row.text, files)
		if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(place{})); err != nil || diff != "" {
			t.Errorf("%s: parsePlace(%q) = %v (-want +got):\n%s", row.name, row.text, err, diff)
		}
	}
}

// FuzzPlace: what is taken is taken again as it is printed.
func FuzzPlace(f *testing.F) {
	for _, seed := range []string{"bolt:/x", "etcd:https://a:1,b/p", "etcd:https://[::1]", "kube:a/b", "etcd:https://a?ca=%zz", "etcd:https://a@b", "etcd:https://a/b//c", "kube:a?server=x", "etcd:https://,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlace(text, storeSection{})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("parsePlace(%q) = more than one line: %v", text, err)
			}
			return
		}
		again, err := parsePlace(p.String(), storeSection{})
		if err != nil || again.String() != p.String() {
			t.Errorf("parsePlace(%q) prints %q, which gives %v, %v", text, p, again, err)
		}
	})
}

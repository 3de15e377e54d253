package config

import (
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Prefixes that a file may say, as they are compared later.
func TestPrefix(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1/32",
		"192.0.2.0/24":     "192.0.2.0/24",
		"::ffff:192.0.2.1": "192.0.2.1/32", // as a connection's address is compared
		"2001:db8::1":      "2001:db8::1/128",
		"2001:db8::/32":    "2001:db8::/32",
	} {
		var p Prefix
		if err := p.UnmarshalText([]byte(text)); err != nil || p.String() != want {
			t.Errorf("UnmarshalText(%q) = %s, %v, want %s", text, p, err, want)
		}
	}
	for _, text := range []string{"", "ingress", "192.0.2.1/33", "192.0.2.1/24", "fe80::1%eth0", "192.0.2", "2001:db8::1/32"} {
		var p Prefix
		if err := p.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("UnmarshalText(%q) = %s, want an error", text, p)
		}
	}
	if got := Prefixes([]Prefix{{netip.MustParsePrefix("192.0.2.0/24")}}); len(got) != 1 || got[0] != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("Prefixes = %v", got)
	}
}

// The protocols of all listeners, each once.
func TestProtocols(t *testing.T) {
	c, err := configured(t, "listen:\n  - {address: \":1\"}\n  - {address: \":2\", protocols: [kairos, lk1]}\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Listen.Protocols(); !slices.Equal(got, []Protocol{Kairos, LK1}) || !c.Listen.Speak(Kairos) || c.Listen.Speak("talos") {
		t.Errorf("Protocols = %v", got)
	}
}

// Defaults that are filled in, so that nobody else needs to know them.
func TestDefaults(t *testing.T) {
	c, err := configured(t, "k8s: {socket: /run/x}\nhooks: {program: /bin/true}\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Listeners{{Endpoint: Endpoint{Address: ":7741"}, Protocols: []Protocol{LK1}}}, c.Listen); diff != "" {
		t.Errorf("listen (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(K8sPlugins{{Socket: "/run/x", Key: "kubernetes", Mode: "0600", UID: -1, GID: -1, Perm: 0o600}}, c.K8s); diff != "" {
		t.Errorf("k8s (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Hooks{{Program: []string{"/bin/true"}, Timeout: 30 * time.Second, On: []string{"pending"}}}, c.Hooks); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	if c.Enroll != Approve || c.Talos.Enroll != "" {
		t.Errorf("enroll is %q and %q for Talos", c.Enroll, c.Talos.Enroll)
	}
}

// A KMS that is closed is closed for Talos, too, unless its section says
// otherwise.
func TestTalosEnroll(t *testing.T) {
	for text, want := range map[string]Enrollment{
		"enroll: closed\ntalos: {address: \":1\"}":                  Closed,
		"enroll: closed\ntalos: {address: \":1\", enroll: approve}": Approve,
		"enroll: tofu\ntalos: {address: \":1\"}":                    "",
	} {
		c, err := configured(t, text)
		if err != nil || c.Talos.Enroll != want {
			t.Errorf("%q: talos.enroll = %q, %v, want %q", text, c.Talos.Enroll, err, want)
		}
	}
}

// Who may open a plugin's socket, by name or number.
func TestOwner(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(me.Uid)
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Skip("the group of this user has no name")
	}
	gid, _ := strconv.Atoi(me.Gid)

	for _, row := range []struct {
		owner    string
		uid, gid int
	}{
		{"", -1, -1}, {me.Username, uid, -1}, {me.Username + ":" + group.Name, uid, gid}, {"4711", 4711, -1}, {"4711:4712", 4711, 4712},
	} {
		if u, g, err := ids(row.owner); err != nil || u != row.uid || g != row.gid {
			t.Errorf("ids(%q) = %d, %d, %v, want %d, %d", row.owner, u, g, err, row.uid, row.gid)
		}
	}
	for owner, want := range map[string]string{"no-such-user": `there is no user "no-such-user"`, "0:no-such-group": `there is no group "no-such-group"`} {
		if _, _, err := ids(owner); err == nil || err.Error() != want {
			t.Errorf("ids(%q) = %v, want %s", owner, err, want)
		}
	}
}

func TestMode(t *testing.T) {
	for mode, want := range map[string]os.FileMode{"0600": 0o600, "0660": 0o660, "0640": 0o640} {
		p := K8sPlugin{Socket: "/run/x", Mode: mode}
		if err := p.check(); err != nil || p.Perm != want {
			t.Errorf("mode %q = %o, %v", mode, p.Perm, err)
		}
	}
	for _, mode := range []string{"0666", "0700", "rw", "4660", "-1"} {
		p := K8sPlugin{Socket: "/run/x", Mode: mode}
		if err := p.check(); err == nil {
			t.Errorf("mode %q was accepted: anyone who opens the socket decrypts the cluster's Secrets", mode)
		}
	}
}

// Every key that needs a restart is named when it changed, wherever it
// stands, and no other.
func TestEveryRestart(t *testing.T) {
	base := "listen: {address: \":1\"}\ntalos: {address: \":2\"}\n"
	a, err := configured(t, base)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", base, nil},
		{"data", base + "data: /x", []string{"data"}},
		{"store", base + "store: {at: \"bolt:/x\"}", []string{"store"}},
		{"wrapping, part by part", base + "wrapping: {key: /x}", []string{"wrapping.key"}},
		{"an embedded endpoint", "listen: {address: \":1\"}\ntalos: {address: \":3\"}\n", []string{"talos.address"}},
		{"what is taken at once", "listen: {address: \":1\"}\ntalos: {address: \":2\", noise: true, bind-address: true, sources: 192.0.2.0/24}\nlog: {level: debug}\npolicy: {defaults: {per-boot: 3}}\n", nil},
		{"the log's form", base + "log: {format: json}", []string{"log.format"}},
		{"metrics", base + "metrics: {address: \":9\"}", []string{"metrics.address"}},
		{"several", base + "enroll: tofu\nadvertise: kms.local", []string{"enroll", "advertise"}},
	} {
		b, err := configured(t, row.text)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if got := NeedRestart(a, b); !slices.Equal(got, row.want) {
			t.Errorf("%s: NeedRestart = %v, want %v", row.name, got, row.want)
		}
	}
}

// A TPM's clock that runs back is refused on request only (faults/peers.md
// I4).
func TestStrictClock(t *testing.T) {
	for text, want := range map[string]bool{"kairos: {strict-clock: true}\n": true, "kairos: {}\n": false, "enroll: closed\n": false} {
		file := filepath.Join(t.TempDir(), "kms.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Read(file); err != nil || c.Kairos.StrictClock != want {
			t.Errorf("%q: strict-clock = %t, %v, want %t", text, c != nil && c.Kairos.StrictClock, err, want)
		}
	}
}

package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"latchkey/internal/strictyaml"
)

// configured judges a file and flags as serve does.
func configured(t *testing.T, text string, flags ...string) (*Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("kms.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	over := LocationFlags(f).Serve(f)
	if err := f.Parse(append([]string{"--config", "kms.yaml"}, flags...)); err != nil {
		t.Fatal(err)
	}
	return over.Config()
}

func TestWrongConfig(t *testing.T) {
	for _, row := range []struct{ name, text, flags, want string }{
		{"unknown key, near one", "enrol: approve", "", `kms.yaml:1: unknown key "enrol"; did you mean "enroll"?`},
		{"unknown key below", "listen:\n  - adress: :1", "", `kms.yaml:2: unknown key "adress"; did you mean "address"?`},
		{"unknown key, near none", "listen:\n  - zzz: 1", "", `kms.yaml:2: unknown key "zzz"; known here: address,`},
		{"another case is another key", "Data: /x", "", `kms.yaml:1: unknown key "Data"; did you mean "data"?`},
		{"a key twice", "data: /a\nenroll: approve\ndata: /b", "", "kms.yaml:3: data is already set in line 1"},
		{"a list for a value", "data: [a, b]", "", "kms.yaml:1: data: expected one value, found a list"},
		{"a value for keys", "listen: [7741]", "", "kms.yaml:1: listen[0]: expected keys with values (key: value), found \"7741\""},
		{"alias", "data: &d /x\nadvertise: [*d]", "", "kms.yaml:1: anchors and aliases are not supported"},
		{"no YAML", "data: [", "", "kms.yaml:1: did not find expected node content"},
		{"two documents", "data: /a\n---\ndata: /b", "", "kms.yaml: there is a second document"},
		{"too large", "#" + strings.Repeat("x", strictyaml.MaxBytes), "", "kms.yaml: more than 1048576 bytes"},
		{"wrong value", "data: /x\nenroll: maybe", "", `kms.yaml:2: enroll: "maybe" must be approve, closed, cert or tofu`},
		{"wrong protocol", "listen:\n  - address: :1\n    protocols: [lk1, lk2]", "", `kms.yaml:3: listen[0].protocols[1]: "lk2" must be`},
		{"talos as a protocol (peers.md I9)", "listen:\n  - address: :1\n    protocols: talos", "", "kms.yaml:3: listen[0].protocols[0]: talos has a listener of its own: --talos-listen, or talos.address"},
		{"talos by flag (peers.md I9)", "", "--protocol=lk1,talos", "--protocol: talos has a listener of its own: --talos-listen"},
		{"k8s by flag (peers.md I9)", "", "--protocol=k8s", "--protocol: k8s has a socket of its own: --k8s-socket"},
		{"a quote is part of the word", "", `--protocol="lk1"`, `--protocol: "\"lk1\"" must be`},
		{"a quote in the middle", "", `--protocol=lk"1,kairos`, `--protocol: "lk\"1" must be`},
		{"a protocol for no listener", "listen: []", "--protocol=kairos", "--protocol: there is no listener that could speak it"},
		{"nothing to serve (field.md P18)", "listen: []", "", "kms.yaml:1: listen: nothing is served"},
		{"nothing to serve, by flag", "", "--listen=none", "--listen: nothing is served"},
		{"nothing to advertise", "listen: []\ntalos: {address: \":1\"}\nadvertise: kms.local", "", "kms.yaml:3: advertise: there is no address for machines to advertise"},
		{"a certificate for no listener", "listen: []\nk8s: {socket: /run/x}", "--tls-cert=a --tls-key=b", "--tls-cert: there is no listener that could use the certificate"},
		{"no level of the log", "log: {level: loud}", "", `kms.yaml:1: log.level: "loud" must be debug, info, warn or error`},
		{"no form of the log", "", "--log-format=xml", `--log-format: "xml" must be text or json`},
		{"Talos nowhere", "talos:\n  allow: [4c4c4544-0042-3510-8052-b4c04f4d3632]", "", "kms.yaml:1: talos.address: name one"},
		{"an administration nowhere", "admin:\n  clients: [{name: x, scope: read}]", "", "kms.yaml:1: admin.address: name one"},
		{"what check makes is no key", "talos:\n  \"-\": x", "", `kms.yaml:2: unknown key "-"`},
		{"no protocol", "listen:\n  - address: :1\n    protocols: []", "", `kms.yaml:3: listen[0].protocols: name lk1, kairos or tang, or several`},
		{"tang nowhere", "tang: {per-minute: 5}", "", "kms.yaml:1: tang: no listener speaks tang"},
		{"tang from an empty list", "tang:\n  known: []", "", "kms.yaml:2: tang.known: an empty list"},
		{"tang less than never", "tang:\n  per-minute: -1", "", "kms.yaml:2: tang.per-minute: -1 is not between 1 and 1000000"},
		{"wrong address", "listen:\n  - address: localhost", "", `kms.yaml:2: listen[0].address: "localhost" is not host:port`},
		{"no address", "listen:\n  - protocols: [lk1]", "", `kms.yaml:2: listen[0].address: "" is not host:port`},
		{"no certificate there", "listen:\n  - address: :1\n    tls: {certificate: /nowhere, key: /nowhere}", "", "kms.yaml:3: listen[0].tls.certificate: reading /nowhere with key /nowhere:"},
		{"certificate without key", "", "--tls-cert=/nowhere", "--tls-cert, --tls-key: certificate and key belong together"},
		{"hook for no event", "hooks:\n  - program: [/bin/true]\n    on: [pending, aprove]", "", `kms.yaml:3: hooks[0].on[1]: "aprove" is no event, status or rule; did you mean "approve"?`},
		{"old TLS", "listen:\n  - address: :1\n    tls: {min-version: \"1.1\"}", "", `kms.yaml:3: listen[0].tls.min-version: "1.1" must be 1.3 or 1.2`},
		{"a proxy that is no address", "listen:\n  - address: :1\n    trusted-proxies: [ingress]", "", `kms.yaml:3: listen[0].trusted-proxies[0]: "ingress" is no address and no network`},
		{"a proxy with bits too many", "listen:\n  - address: :1\n    trusted-proxies: [192.0.2.1/24]", "", "kms.yaml:3: listen[0].trusted-proxies[0]: 192.0.2.1/24 has bits set beyond its length: write 192.0.2.0/24"},
		{"everybody's PROXY header", "listen:\n  - address: :1\n    proxy-protocol: true", "", "kms.yaml:3: listen[0].proxy-protocol: name the proxies"},
		{"a limit that is none", "listen:\n  - address: :1\n    connections:\n      in-all: -1", "", "kms.yaml:4: listen[0].connections.in-all: -1 is not between 1 and 65536"},
		{"no number", "listen:\n  - address: :1\n    connections:\n      in-all: many", "", `kms.yaml:4: listen[0].connections.in-all: "many" is not a whole number`},
		{"no truth", "listen:\n  - address: :1\n    proxy-protocol: perhaps", "", `kms.yaml:3: listen[0].proxy-protocol: "perhaps" is not true or false`},
		{"Talos by its small letters", "talos:\n  allow: [abc]", "", `kms.yaml:2: talos.allow[0]: "abc" is no UUID of a machine`},
		{"Talos for nobody's UUID", "talos:\n  allow: [00000000-0000-0000-0000-000000000000]", "", `kms.yaml:2: talos.allow[0]: "00000000-0000-0000-0000-000000000000" is no UUID of a machine`},
		{"Talos for an empty list", "talos:\n  address: :1\n  allow: []", "", "kms.yaml:3: talos.allow: an empty list could mean nobody or everybody: leave the key out for everybody"},
		{"Talos from an empty list", "talos:\n  address: :1\n  sources: []", "", "kms.yaml:3: talos.sources: an empty list"},
		{"Talos behind a proxy of HTTP", "talos:\n  address: :1\n  trusted-proxies: [192.0.2.1]", "", "kms.yaml:3: talos.trusted-proxies: gRPC has no X-Forwarded-For"},
		{"a socket for all", "k8s:\n  - socket: /run/x\n    mode: \"0666\"", "", `kms.yaml:3: k8s[0].mode: "0666" must be at most 0660`},
		{"a socket nowhere", "", "--k8s-socket=here", `--k8s-socket: "here" is not an absolute path`},
		{"a socket twice", "k8s:\n  - socket: /run/x\n  - socket: /run/x", "", "kms.yaml:3: k8s[1].socket: /run/x is named twice"},
		{"nobody's socket", "k8s:\n  - socket: /run/x\n    owner: no-such-user", "", `kms.yaml:3: k8s[0].owner: there is no user "no-such-user"`},
		{"cert without roots", "enroll: cert", "", "kms.yaml:1: enroll: cert needs a folder of vendors' certificates"},
		{"roots nowhere", "ek: {roots: /nowhere}", "", "kms.yaml:1: ek.roots: open /nowhere: no such file"},
		{"window without zone", "policy:\n  defaults:\n    windows: mon-fri 22:00-06:00", "", `kms.yaml:3: policy.defaults.windows[0]: reading window "mon-fri 22:00-06:00": want days, times and zone`},
		{"unknown release", "policy:\n  groups:\n    - label: a=b\n      settings:\n        releases: [gone]", "", `kms.yaml:4: policy.groups[0].settings: release "gone" is not in the configuration`},
		{"release of an empty content", "policy:\n  releases:\n    - name: x\n      content: {}", "", `kms.yaml:3: policy.releases[0]: content: it asks for nothing, so that any boot would match`},
		{"release of no program", "policy:\n  releases:\n    - name: x\n      content: {programs: []}", "", `kms.yaml:3: policy.releases[0]: content: programs: an empty list: say what is allowed`},
		{"release that measures nothing", "policy:\n  releases:\n    - name: x\n      pcrs: [\"11:sha256=" + strings.Repeat("0", 64) + "\"]", "", `kms.yaml:3: policy.releases[0]: PCR 11: nothing measures an initrd in that value`},
		{"release without end", "policy:\n  releases:\n    - name: x\n      content: {dbx: /dev/zero}", "", `kms.yaml:3: policy.releases[0]: content: dbx: reading /dev/zero: it is a device`},
		{"release of nothing", "policy:\n  releases:\n    - name: x", "", `kms.yaml:3: policy.releases[0]: it says none of pcrs, signed and content`},
		{"network with bits behind", "policy:\n  defaults:\n    networks: 192.0.2.1/24", "", `kms.yaml:2: policy.defaults: network 192.0.2.1/24: bits are set behind the prefix`},
		{"wrong flag over a right file", "enroll: closed", "--enroll=maybe", `--enroll: "maybe" must be approve, closed, cert or tofu`},
		{"wrong address by flag", "", "--listen=here", `--listen: "here" is not host:port`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := configured(t, row.text, strings.Fields(row.flags)...)
			if err == nil || !strings.HasPrefix(err.Error(), row.want) {
				t.Errorf("Config(%q, %q) = %v, want %s", row.text, row.flags, err, row.want)
			}
		})
	}
}

// A cluster must not encrypt the store of its own key server.
func TestOwnCluster(t *testing.T) {
	for text, want := range map[string]string{
		"k8s:\n  - socket: /run/x":                          "kms.yaml:2: k8s[0].socket: the store is in a cluster, too",
		"k8s:\n  - socket: /run/x\n    other-cluster: true": "",
	} {
		_, err := configured(t, text, "--store=kube:keys")
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("Config(%q) on a store in a cluster = %v, want %q", text, err, want)
		}
	}
}

func TestFlagsOverFile(t *testing.T) {
	file := "enroll: closed\nlisten:\n  - address: 192.0.2.1:1\n    protocols: [lk1, kairos]\n  - address: 192.0.2.1:2\n"
	for _, row := range []struct{ flags, want string }{
		{"", "closed 192.0.2.1:1[lk1 kairos] 192.0.2.1:2[lk1]"},
		{"--enroll=approve", "approve 192.0.2.1:1[lk1 kairos] 192.0.2.1:2[lk1]"},
		{"--listen=:9", "closed :9[lk1]"},
		{"--protocol=kairos", "closed 192.0.2.1:1[kairos] 192.0.2.1:2[kairos]"},
		{"--listen=:9 --protocol=kairos,lk1", "closed :9[kairos lk1]"},
	} {
		c, err := configured(t, file, strings.Fields(row.flags)...)
		if err != nil {
			t.Fatal(err)
		}

		got := string(c.Enroll)
		for _, l := range c.Listen {
			var names []string
			for _, p := range l.Protocols {
				names = append(names, string(p))
			}
			got += " " + l.Address + "[" + strings.Join(names, " ") + "]"
		}

		if got != row.want {
			t.Errorf("Config(%q) = %s, want %s", row.flags, got, row.want)
		}
	}
}

func TestNeedRestart(t *testing.T) {
	a, err := configured(t, "enroll: closed")
	if err != nil {
		t.Fatal(err)
	}
	b, err := configured(t, "enroll: approve\nlisten:\n  - address: :1")
	if err != nil {
		t.Fatal(err)
	}
	got := NeedRestart(a, b)
	if strings.Join(got, " ") != "enroll listen" {
		t.Errorf("NeedRestart = %q, want enroll and listen", got)
	}
}

// Whatever is in the file: no panic, and an error is one line.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"data: /x\nenroll: closed\nlisten:\n  - address: :1\n    protocols: [lk1]\n    trusted-proxies: [192.0.2.0/24]\n",
		"talos: {address: \":1\", allow: [4c4c4544-0042-3510-8052-b4c04f4d3632]}", "k8s: [{socket: /run/x, mode: \"0600\"}]",
		"policy: {groups: {}}", "admin:\n  address: :1", "hooks: []", "a: &a [*a]", "? [x]\n: y", "---\n---", "\xff", "listen: !!binary aGk=",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := &Config{where: strictyaml.Lines{}}
		if err := strictyaml.Decode("kms.yaml", text, c, c.where); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("Decode(%q) = %q, want one line", text, err)
		}
	})
}

// faults/field.md P18: what is of the wrong kind is said in words, and none
// of them is Go's.
func TestKindsInWords(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"data: {a: b}", `kms.yaml:1: data: expected one value, found keys with values`},
		{"advertise: {a: b}", `kms.yaml:1: advertise[0]: expected one value, found keys with values`},
		{"log: 5", `kms.yaml:1: log: expected keys with values (key: value), found "5"`},
		{"log: [5]", `kms.yaml:1: log: expected keys with values (key: value), found a list`},
		{"listen: 7741", `kms.yaml:1: listen[0]: expected keys with values (key: value), found "7741"`},
		{"data", `kms.yaml:1: the file: expected keys with values (key: value), found "data"`},
		{"listen: {address: \":1\", connections: {in-all: 1.5}}", `kms.yaml:1: listen[0].connections.in-all: "1.5" is not a whole number`},
		{"listen: {address: \":1\", connections: {in-all: 99999999999999999999}}", `kms.yaml:1: listen[0].connections.in-all: "99999999999999999999" is not a whole number`},
		{"talos: {bind-address: 1}", `kms.yaml:1: talos.bind-address: "1" is not true or false`},
		{"hooks: {program: /bin/true, timeout: 5}", `kms.yaml:1: hooks[0].timeout: "5" is not a duration like 90s or 12h`},
		{"hooks: {program: /bin/true, timeout: -5s}", `kms.yaml:1: hooks[0].timeout: -5s is not a time to wait`},
		{"policy: {defaults: {networks: 5}}", `kms.yaml:1: policy.defaults.networks[0]: "5" is not a network such as 192.0.2.0/24`},
		{"policy: {defaults: {silence: [90]}}", `kms.yaml:1: policy.defaults.silence: expected one value, found a list`},
		{"data: !!int x", `kms.yaml:1: tags such as !!int are not supported`},
		{"advertise: !!binary aGk=", `kms.yaml:1: tags such as !!binary are not supported`},
		{"listen: {address: \":99999\"}", `kms.yaml:1: listen[0].address: ":99999": the port must be a number from 0 to 65535`},
		{"listen: {address: \"localhost:http\"}", `kms.yaml:1: listen[0].address: "localhost:http": the port must be a number`},
		{"advertise: kms", `kms.yaml:1: advertise[0]: "kms" must be a name that ends in .local, such as kms.local`},
	} {
		_, err := configured(t, row.text)
		if err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("Config(%q) = %v, want %s", row.text, err, row.want)
		}
		if err != nil && regexp.MustCompile(`strconv|netip|reflect|config\.|policy\.[A-Z]|time\.|unmarshal`).MatchString(err.Error()) {
			t.Errorf("Config(%q) = %v, which speaks of Go", row.text, err)
		}
	}
}

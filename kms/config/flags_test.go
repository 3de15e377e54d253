package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
)

// Each flag sets its key, and nothing else: the configuration by the flag is
// the one by the file.
func TestFlagsAreKeys(t *testing.T) {
	for _, row := range []struct{ name, flags, file string }{
		{"data", "--data=/d", "data: /d"},
		{"store", "--store=etcd:https://a --store-ca=c --store-cert=e --store-key=k", "store: {at: \"etcd:https://a\", ca: c, certificate: e, key: k}"},
		{"write back", "--store=kube:keys --store-write-back=volumes", "store: {at: \"kube:keys\", write-back: volumes}"},
		{"wrapping key", "--wrapping-key=/k", "wrapping: {key: /k}"},
		{"wrapping passphrase", "--wrapping-passphrase=/p", "wrapping: {passphrase: /p}"},
		{"wrapping TPM", "--wrapping-tpm=/dev/tpmrm0", "wrapping: {tpm: /dev/tpmrm0}"},
		{"listen", "--listen=192.0.2.5:1", "listen: {address: \"192.0.2.5:1\"}"},
		{"no listener", "--listen=none --talos-listen=:4050", "listen: []\ntalos: {address: \":4050\"}"},
		{"protocol", "--protocol=kairos,lk1", "listen: {address: \":7741\", protocols: [kairos, lk1]}"},
		{"enroll", "--enroll=closed", "enroll: closed"},
		{"talos", "--talos-listen=:4050", "talos: {address: \":4050\"}"},
		{"k8s", "--k8s-socket=/run/x", "k8s: {socket: /run/x}"},
		{"metrics", "--metrics-listen=127.0.0.1:9742", "metrics: {address: \"127.0.0.1:9742\"}"},
		{"advertise", "--advertise=kms.local --advertise=other.local", "advertise: [kms.local, other.local]"},
		{"log", "--log-level=debug --log-format=json", "log: {level: debug, format: json}"},
		{"nothing", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			byFlag, err := configured(t, "", strings.Fields(row.flags)...)
			if err != nil {
				t.Fatal(err)
			}
			byFile, err := configured(t, row.file)
			if err != nil {
				t.Fatal(err)
			}
			diff := cmp.Diff(byFile, byFlag, cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "File"), cmpopts.IgnoreFields(Policy{}, "Rules"))
			if diff != "" {
				t.Errorf("%s is not %q (-file +flag):\n%s", row.flags, row.file, diff)
			}
		})
	}
}

// A flag goes over the file, key by key; one way to keep the wrapping key
// goes over another.
func TestFlagsOverTheirKey(t *testing.T) {
	file := "data: /file\nwrapping: {tpm: /dev/tpmrm0}\nstore: {at: \"etcd:https://a\", ca: file.pem}\nlog: {level: warn, format: json}\n"
	c, err := configured(t, file, "--data=/flag", "--wrapping-key=/k", "--store-ca=flag.pem", "--log-level=error")
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "/flag" || c.Store.CA != "flag.pem" || c.Store.At != "etcd:https://a" || c.Log != (Log{Level: "error", Format: "json"}) {
		t.Errorf("the configuration is %+v", c)
	}
	if want := (Wrapping{Key: "/k"}); !reflect.DeepEqual(c.Wrapping, want) {
		t.Errorf("wrapping is %+v, want %+v", c.Wrapping, want)
	}
}

// What every command needs is found without a look at the rest, which may
// name files of another host.
func TestLocation(t *testing.T) {
	locate := func(text string, flags ...string) (Location, error) {
		path := filepath.Join(t.TempDir(), "kms.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := pflag.NewFlagSet("node list", pflag.ContinueOnError)
		all := LocationFlags(f)
		if err := f.Parse(append([]string{"--config", path}, flags...)); err != nil {
			t.Fatal(err)
		}
		return all.Location()
	}

	for _, row := range []struct {
		name, text, flags string
		data, place       string
	}{
		{"nothing said", "", "", DefaultData, "bolt:" + DefaultData + "/kms.db"},
		{"a directory", "data: /d", "", "/d", "bolt:/d/kms.db"},
		{"by flag", "data: /d", "--data=/f", "/f", "bolt:/f/kms.db"},
		{"a file elsewhere", "store: {at: \"bolt:/x.db\"}", "--data=/f", "/f", "bolt:/x.db"},
		{"shared", "", "--store=etcd:https://a", DefaultData, "etcd:https://a:2379/latchkey"},
		{"the rest is not judged", "data: /d\nenroll: maybe\nek: {roots: /nowhere}", "", "/d", "bolt:/d/kms.db"},
	} {
		l, err := locate(row.text, strings.Fields(row.flags)...)
		if err != nil || l.Data != row.data || l.Place.String() != row.place {
			t.Errorf("%s: Location = %s, %s, %v, want %s, %s", row.name, l.Data, l.Place, err, row.data, row.place)
		}
	}

	for text, want := range map[string]string{
		"data: [":                     "kms.yaml:1: did not find",
		"dat: /d":                     `kms.yaml:1: unknown key "dat"; did you mean "data"?`,
		"store: {at: \"redis:x\"}":    `kms.yaml:1: store.at: store "redis:x": must be bolt:PATH`,
		"wrapping: {key: a, tpm: b}":  "kms.yaml:1: wrapping: key, passphrase, tpm, exec, transit and shares are mutually exclusive",
		"store: {write-back: always}": `kms.yaml:1: store.write-back: "always" must be volumes or secrets`,
	} {
		if _, err := locate(text); err == nil || !strings.Contains(err.Error(), "/"+want) {
			t.Errorf("Location of %q = %v, want %s", text, err, want)
		}
	}
	if _, err := locate("", "--store=bolt:"); err == nil || !strings.HasPrefix(err.Error(), "--store: ") {
		t.Errorf("Location of a wrong flag = %v, want one that names --store", err)
	}
}

// Another place of the same KMS needs the same files to get there, unless
// it names its own.
func TestParseOfALocation(t *testing.T) {
	c, err := configured(t, "store: {at: \"etcd:https://a\", ca: ca.pem, certificate: c.pem, key: c.key}")
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Location()
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Parse("etcd:https://b?ca=other.pem")
	if err != nil || p.CA != "other.pem" || p.Cert != "c.pem" || p.Key != "c.key" {
		t.Errorf("Parse = %+v, %v", p, err)
	}
}

func TestReadFails(t *testing.T) {
	if _, err := Read("/nowhere/kms.yaml"); err == nil || err.Error() != "reading the configuration: open /nowhere/kms.yaml: no such file or directory" {
		t.Errorf("Read of no file = %v", err)
	}
	if c, err := Read(""); err != nil || c.File != "" {
		t.Errorf("Read of no name = %+v, %v", c, err)
	}
}

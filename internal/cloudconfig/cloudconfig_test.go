package cloudconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/cloudconfig"
)

// write makes files below a folder.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What a later file says wins, file by file in the order of their paths and
// directory by directory in theirs; old and new places of keys are the same;
// what is no cloud-config says nothing, and neither does a broken one without
// a word of kcrypt, or a key of another program: both are named.
func TestRead(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, first, map[string]string{
		"10_a.yaml":     "#cloud-config\nhostname: x\ninstall:\n  encrypted_partitions: [COS_OEM]\nkcrypt:\n  challenger:\n    challenger_server: http://a.local\n    mdns: \"true\"\n    nv_index: 0x1500001\n    tpm_device: /dev/a\n    legacy: false\n",
		"20_b.yml":      "#kairos-config\ninstall:\n  encrypted_partitions:\n  - COS_PERSISTENT\n  - data\nkcrypt:\n  nv_index: \"0x1500002\"\n  c_index: 0x81000009\n",
		"sub/30_c.yaml": "#node-config\nkcrypt: {challenger: {challenger_server: 'http://c.local', certificate: \"PEM\\n\"}}\n",
		"40_not.yaml":   "kcrypt: {challenger: {legacy: true}}\n",
		"50_not.txt":    "#cloud-config\nkcrypt: {challenger: {legacy: true}}\n",
		"60_keys.yaml":  "#cloud-config\nkcrypt:\n  remote_unlock: {public_key: x}\n",
		"70_bad.yaml":   "#cloud-config\nstages: [\n",
	})
	write(t, second, map[string]string{"a.yaml": "#cloud-config\nkcrypt: {tpm_device: /dev/b}\n"})
	var warned []string
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(second, link); err != nil {
		t.Fatal(err)
	}
	got, err := cloudconfig.Read([]string{first, filepath.Join(first, "none"), link}, func(err error) { warned = append(warned, err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	no := false
	want := cloudconfig.Config{Server: "http://c.local", MDNS: true, Certificate: "PEM\n", Legacy: &no, NVIndex: 0x1500002, CIndex: 0x81000009, TPMDevice: "/dev/b", Encrypted: []string{"COS_PERSISTENT", "data"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	if len(warned) != 2 || !strings.HasSuffix(warned[0], "60_keys.yaml:3: kcrypt.remote_unlock is another program's, and not used here") || !strings.Contains(warned[1], "70_bad.yaml:") {
		t.Errorf("warned of %q, want another program's key and the broken file", warned)
	}
}

func TestCommandLine(t *testing.T) {
	c := cloudconfig.Config{Server: "http://a.local"}
	if err := c.AddCommandLine("root=LABEL=COS_ACTIVE kcrypt.challenger.challenger_server=https://b.local:8443/x kcrypt.challenger.mdns=true quiet"); err != nil || c.Server != "https://b.local:8443/x" || !c.MDNS {
		t.Errorf("AddCommandLine = %+v, %v", c, err)
	}
	if err := c.AddCommandLine("kcrypt.challenger.tpm_device=/dev/a kcrypt.nv_index=0x1500001 kcrypt.remote_unlock.x=1"); err != nil || c.TPMDevice != "/dev/a" || c.NVIndex != 0x1500001 {
		t.Errorf("AddCommandLine = %+v, %v", c, err)
	}
	for words, want := range map[string]string{
		"kcrypt.challenger.mdns=perhaps":       `kcrypt.challenger.mdns is "perhaps", want true or false`,
		"kcrypt.challenger.challenger_server=": "kcrypt.challenger.challenger_server is empty",
		"kcrypt.challenger.challenger_sever=x": `unknown key "challenger_sever" in kcrypt.challenger; did you mean "challenger_server"?`,
		"kcrypt.challenger_server=x":           "kcrypt.challenger_server: it belongs in kcrypt.challenger",
		"kcrypt.chalenger.challenger_server=x": `unknown key "chalenger" in kcrypt; did you mean "challenger"?`,
		"kcrypt.challenger=x":                  "kcrypt.challenger: want a key below it",
	} {
		was := c
		if err := c.AddCommandLine("kcrypt.challenger.tpm_device=/dev/b " + words); err == nil || !strings.HasPrefix(err.Error(), "kernel command line: "+want) || !cmp.Equal(c, was) {
			t.Errorf("AddCommandLine(%q) = %v, want %q", words, err, want)
		}
	}
}

// Each mistake in kcrypt is an error with its line, and nothing of the file is
// taken: a machine whose settings are wrong must not do without them.
func TestWrong(t *testing.T) {
	const good = "#cloud-config\nkcrypt:\n  challenger:\n    challenger_server: https://kms.local\n    "
	for _, row := range []struct{ name, text, want string }{
		{"no truth", good + "mdns: yes please\n", `f.yaml:5: kcrypt.challenger.mdns is "yes please", want true or false`},
		{"truth with nothing behind it", good + "mdns:\n", `f.yaml:5: kcrypt.challenger.mdns is "", want true or false`},
		{"no truth for legacy", good + "legacy: nope\n", `f.yaml:5: kcrypt.challenger.legacy is "nope"`},
		{"a list", good + "certificate: [a]\n", "f.yaml:5: kcrypt.challenger.certificate: want one value, found a list"},
		{"a tab", "#cloud-config\nkcrypt:\n\tchallenger: {}\n", "f.yaml:"},
		{"no keys", "#cloud-config\nkcrypt: 5\n", `f.yaml:2: kcrypt: want keys with values, indented below it, found "5"`},
		{"nothing", "#cloud-config\nkcrypt:\nhostname: a\n", "f.yaml:2: kcrypt: want keys with values, indented below it, found nothing"},
		{"nothing in challenger", "#cloud-config\nkcrypt:\n  challenger: {}\n", "f.yaml:3: kcrypt.challenger: want keys with values, indented below it, found nothing"},
		{"a key twice", good + "challenger_server: b\n", `f.yaml:5: mapping key "challenger_server" already defined at line 4`},
		{"kcrypt twice", "#cloud-config\nkcrypt: {nv_index: 1}\nkcrypt: {nv_index: 2}\n", `f.yaml:3: mapping key "kcrypt" already defined at line 2`},
		{"misspelled", "#cloud-config\nkcrypt: {challenger: {challenger_sever: x}}\n", `f.yaml:2: unknown key "challenger_sever" in kcrypt.challenger; did you mean "challenger_server"?`},
		{"misspelled legacy", good + "legcy: false\n", `f.yaml:5: unknown key "legcy" in kcrypt.challenger; did you mean "legacy"?`},
		{"misspelled mdns", good + "mdsn: true\n", `f.yaml:5: unknown key "mdsn" in kcrypt.challenger; did you mean "mdns"?`},
		{"misspelled challenger", "#cloud-config\nkcrypt:\n  chalenger: {challenger_server: x}\n", `f.yaml:3: unknown key "chalenger" in kcrypt; did you mean "challenger"?`},
		{"misspelled kcrypt", "#cloud-config\nkcript: {challenger: {challenger_server: x}}\n", `f.yaml:2: unknown key "kcript"; did you mean "kcrypt"?`},
		{"one level too high", "#cloud-config\nkcrypt:\n  challenger_server: x\n", "f.yaml:3: kcrypt.challenger_server: it belongs in kcrypt.challenger"},
		{"not indented", "#cloud-config\nchallenger: {challenger_server: x}\n", "f.yaml:2: challenger: it belongs in kcrypt; is it indented?"},
		{"no server behind it", "#cloud-config\nkcrypt: {challenger: {challenger_server: }}\n", "f.yaml:2: kcrypt.challenger.challenger_server is empty"},
		{"a server of blanks", "#cloud-config\nkcrypt: {challenger: {challenger_server: ' '}}\n", "f.yaml:2: kcrypt.challenger.challenger_server is empty"},
		{"no device behind it", "#cloud-config\nkcrypt: {tpm_device: ~}\n", "f.yaml:2: kcrypt.tpm_device is empty"},
		{"a second document", "#cloud-config\nhostname: a\n---\nkcrypt: {challenger: {challenger_server: x}}\n", "f.yaml:4: kcrypt stands in a second document"},
		{"a broken second document", "#cloud-config\nhostname: a\n---\nkcrypt: [\n", "f.yaml:"},
		{"no keys at all", "#cloud-config\n- kcrypt\n", "f.yaml:2: want keys with values (key: value), found a list"},
		{"no list of partitions", "#cloud-config\ninstall: {encrypted_partitions: {a: b}}\n", "f.yaml:2: install.encrypted_partitions: want a list of labels"},
	} {
		var c cloudconfig.Config
		err := c.Add("f.yaml", []byte(row.text), func(err error) { t.Errorf("%s: noted %v", row.name, err) })
		if err == nil || !strings.HasPrefix(err.Error(), row.want) || c.Server != "" || c.NVIndex != 0 {
			t.Errorf("%s: Add = %+v, %v, want %q and nothing of it", row.name, c, err, row.want)
		}
	}
}

// What is fine is no mistake: aliases, merged keys, keys of others, documents
// of comments.
func TestFine(t *testing.T) {
	for _, row := range []struct{ name, text, server string }{
		{"an alias", "#cloud-config\nx: &a {challenger_server: s}\nkcrypt: {challenger: *a}\n", "s"},
		{"merged", "#cloud-config\nx: &a {challenger_server: s}\nkcrypt:\n  challenger:\n    <<: *a\n    mdns: true\n", "s"},
		{"comments", "#cloud-config\n# kcrypt: none\n", ""},
		{"an empty file", "#cloud-config", ""},
		{"a beginning", "#cloud-config\n---\nkcrypt: {challenger: {challenger_server: s}}\n---\n", "s"},
		{"others' keys", "#cloud-config\nscript: kcrypt\nstages: {boot: [{name: kcrypt}]}\n", ""},
	} {
		var c cloudconfig.Config
		if err := c.Add("f.yaml", []byte(row.text), func(err error) { t.Errorf("%s: noted %v", row.name, err) }); err != nil || c.Server != row.server {
			t.Errorf("%s: Add = %+v, %v, want server %q", row.name, c, err, row.server)
		}
	}
}

// What needs a server is not left without one.
func TestAlone(t *testing.T) {
	no := false
	for _, c := range []cloudconfig.Config{{MDNS: true}, {Certificate: "x"}, {Legacy: &no}} {
		if err := c.Alone(); err == nil || !strings.Contains(err.Error(), "challenger_server is not") {
			t.Errorf("Alone of %+v = %v, want an error", c, err)
		}
		c.Server = "https://kms.local"
		if err := c.Alone(); err != nil {
			t.Errorf("Alone of %+v = %v", c, err)
		}
	}
	if err := (&cloudconfig.Config{NVIndex: 1, CIndex: 1, TPMDevice: "x"}).Alone(); err != nil {
		t.Errorf("Alone of what concerns the TPM = %v", err)
	}
}

// Numbers are handles; files that are too large, that are none or that lead
// nowhere are errors: nobody knows what they would say.
func TestBad(t *testing.T) {
	for _, text := range []string{"nv_index: 0", "nv_index: x", "c_index: -1", "c_index: 0x100000000"} {
		var c cloudconfig.Config
		if err := c.Add("f.yaml", []byte("#cloud-config\nkcrypt: {tpm_device: x, "+text+"}\n"), nil); err == nil || c.TPMDevice != "" {
			t.Errorf("Add(%q) = %+v, %v, want an error", text, c, err)
		}
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.yaml": "#cloud-config\nkcrypt: {tpm_device: /dev/a}\n" + strings.Repeat("#", 1<<20)})
	if err := os.Symlink("nowhere", filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "c.yaml")); err != nil {
		t.Fatal(err)
	}
	c, err := cloudconfig.Read([]string{dir}, nil)
	if err == nil || c.TPMDevice != "" {
		t.Fatalf("Read of a large file = %+v, %v, want nothing and an error", c, err)
	}
	for _, want := range []string{"a.yaml: it has 10", "b.yaml: no such file", "c.yaml: it is no file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Read = %v, want %q in it", err, want)
		}
	}
}

package initramfs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/docs"
	"latchkey/initramfs"
	"latchkey/internal/docexample"
	"latchkey/internal/plan"
	"latchkey/internal/strictyaml"
	"latchkey/internal/strictyaml/schematest"
)

func schema() map[string]any {
	return strictyaml.Schema("latchkey.yaml", initramfs.Config{}, strictyaml.About(docs.Plan))
}

// taken tells whether the command takes a file.
func taken(file string) bool {
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(file))
	if err != nil {
		return false
	}
	_, err = c.Plan()
	return err == nil
}

// TestSchema: editors accept what the command takes, and mark what is
// misspelled or of the wrong kind, as it does.
func TestSchema(t *testing.T) {
	judge := schematest.Compile(t, schema())
	for _, b := range append(docexample.Blocks(t, "yaml latchkey.yaml"), docexample.Blocks(t, "yaml latchkey.yaml part")...) {
		if err := judge(b.Text); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}

	for _, more := range []string{
		"wait: 0s", "head-start: 1.5s", "find: {report: false}", "modules: {add: nvme}", "root: {device: LABEL=root}", "debug: true", "tpm: {ek: p256}", "tpm: {kept: true}",
		"degraded: never", "degraded: 3s", "degraded: +1m30s",
	} {
		if file := config + more + "\n"; judge(file) != nil || !taken(file) {
			t.Errorf("%s: schema %v, command takes it: %t", more, judge(file), taken(file))
		}
	}
	for _, more := range []string{
		"wiat: 0s", "wait: 5", "wait: five", "find: {report: perhaps}", "find: [x]", "modules: universal", "tpm: {ek: rsa}", "tpm: {kept: sometimes}", "debug: 1", "volumes: 5",
		"root: {device: [a]}", "modules: {set: all}", "image: {efi: x}",
		"degraded: ever", "degraded: -3s", "degraded: 3",
	} {
		if file := config + more + "\n"; judge(file) == nil || taken(file) {
			t.Errorf("%s: schema %v, command takes it: %t; want neither", more, judge(file), taken(file))
		}
	}
	for sources, good := range map[string]bool{
		"kms": true, "kms, prompt": true, "key-file: {path: /k}": true, "tang": false, "{}": false, "clevis: {url: x}": false,
		"systemd-tpm2: {sealed: " + strings.Repeat("ab", 32) + ", pin: true}": true, "systemd-tpm2: {sealed: " + strings.Repeat("ab", 32) + ", pin: 1234}": false,
		"{key-file: {path: x}, clevis: {tang: []}}":  false,
		"{need: 2, of: [kms, systemd-tpm2]}, prompt": true, "need: 2": false, "of: [kms, systemd-tpm2]": false, "{need: 2, of: [kms, prompt]}": false,
		"{need: 2, of: [kms, {need: 1, of: [systemd-tpm2, key-file: {path: /k}]}]}": true, "{need: 2, of: [kms, {need: 1, of: [key-file: {path: /l}, key-file: {path: /k}]}]}": true,
		"{need: 2, of: [kms, {need: 1, of: [kms, {need: 1, of: [kms, kms]}]}]}": false, "{need: 2, of: [kms, {need: 1, key-file: {path: /k}}]}": false,
		"{need: 2, of: [kms, systemd-tpm2], key-file: {path: /k}}": false, "": false, "{need: 0, of: [kms, systemd-tpm2]}": false, "{need: 1, of: [kms]}": false, "{need: 1, of: kms}": false,
		"{need: 1, of: [kms, {need: 0, of: [kms, systemd-tpm2]}]}": false, "{need: 1, of: [" + strings.Repeat("kms, ", 9) + "]}": false,
	} {
		if file := withSources(sources); (judge(file) == nil) != good || taken(file) != good {
			t.Errorf("sources [%s]: schema %v, command takes it: %t; want %t", sources, judge(file), taken(file), good)
		}
	}
}

// TestSchemaForms: what has a form of its own has it in the schema, too.
func TestSchemaForms(t *testing.T) {
	judge := schematest.Compile(t, schema())
	digest := func(hex string) string {
		return strings.Replace(config, "555555555555}", "555555555555, digest: \""+hex+"\"}", 1)
	}
	for file, good := range map[string]bool{
		digest(strings.Repeat("ab", 32)): true, digest(strings.Repeat("AB", 32)): true, digest("ab"): false, digest(strings.Repeat("xy", 32)): false, digest(strings.Repeat("ab", 33)): false,
		"volumes: []\n": false,
	} {
		if (judge(file) == nil) != good || taken(file) != good {
			t.Errorf("%s: schema %v, command takes it: %t; want %t", file, judge(file), taken(file), good)
		}
	}
}

// TestSchemaWords: the words that editors offer for a field are those that
// the command takes.
func TestSchemaWords(t *testing.T) {
	files := map[string]string{
		".tpm.ek":          config + "tpm: {ek: %s}\n",
		".on-fail.action":  config + "on-fail: {action: %s}\n",
		".root.fstype":     config + "root: {fstype: %s}\n",
		".usr.fstype":      config + "usr: {fstype: %s}\n",
		".modules.set":     config + "modules: {set: %s}\n",
		".volumes.options": strings.Replace(config, "555555555555}", "555555555555, options: [%s]}", 1),
		".volumes.accept":  strings.Replace(config, "555555555555}", "555555555555, accept: %s}", 1),
		".volumes.sources": strings.Replace(withSources("%s"), "sources:", "digest: "+strings.Repeat("ab", 32)+", sources:", 1),
	}
	for _, of := range []string{".of", ".of.of"} {
		files[".volumes.sources"+of] = strings.Replace(withSources("{need: 2, of: [key-file: {path: /k}, {need: 2, of: [%s, key-file: {path: /k}]}]}"), "sources:", "digest: "+strings.Repeat("ab", 32)+", sources:", 1)
	}
	words := schematest.Words(schema())
	for field, list := range words {
		file, ok := files[field]
		if !ok {
			t.Errorf("%s takes one of %q: give it a row", field, list)
			continue
		}
		for _, word := range append(slices.Clone(list), "zzz") {
			text := strings.ReplaceAll(word, plan.SourcePush, plan.SourceKMS+", "+plan.SourcePush) // which stands behind kms
			if got := taken(fmt.Sprintf(file, text)); got != (word != "zzz") {
				t.Errorf("%s: %s: the command takes it: %t", field, word, got)
			}
		}
	}
	if len(words) != len(files) {
		t.Errorf("%d fields take words, the rows are of %d", len(words), len(files))
	}
}

// TestSchemaTexts: editors say of a key what the page says.
func TestSchemaTexts(t *testing.T) {
	about := strictyaml.About(docs.Plan)
	for _, key := range []string{"trust.kms", "volumes", "volumes[].uuid", "root.device", "root.init", "on-fail.after", "modules.exclude", "debug"} {
		if about[key] == "" {
			t.Errorf("docs/plan.md says nothing of %s", key)
		}
	}
	if got := about["on-fail.after"]; strings.ContainsAny(got, "`[]") || !strings.Contains(got, "what follows a final failure") {
		t.Errorf("on-fail.after: %q", got)
	}
}

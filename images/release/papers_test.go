package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// module is the folder of a module that go.mod requires.
func module(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// cyclone is CycloneDX's schema, with those that it points to.
func cyclone(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir := filepath.Join(module(t, "github.com/CycloneDX/cyclonedx-go"), "schema")
	c := jsonschema.NewCompiler()
	for url, file := range map[string]string{"jsf-0.82.schema.json": "jsf-0.82.schemax.json", "spdx.schema.json": "spdx.schema.json"} {
		text, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(text)
		if err := errors.Join(err, text.Close(), c.AddResource("http://cyclonedx.org/schema/"+url, value)); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(filepath.Join(dir, "bom-1.6.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestMaterials reads what this test itself is made of, judged by CycloneDX's
// own schema.
func TestMaterials(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(t.Context(), []string{"materials", "latchkey", "1.2.3", self}, out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two lists of one program differ")
	}

	schema := cyclone(t)
	value, err := jsonschema.UnmarshalJSON(&second)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Error(err)
	}

	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(&first, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.Metadata.Timestamp != "2023-11-14T22:13:20Z" {
		t.Errorf("the time is %s, want that of SOURCE_DATE_EPOCH", bom.Metadata.Timestamp)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	name := filepath.Base(self)
	refs := map[string]string{}
	for _, c := range *bom.Components {
		refs[c.BOMRef] = c.PackageURL
		if c.BOMRef == name && (*c.Hashes)[0].Value != hex.EncodeToString(sum[:]) {
			t.Errorf("%s has the sum %v, want %x", name, *c.Hashes, sum)
		}
	}
	uses := *(*bom.Dependencies)[0].Dependencies
	for _, want := range []string{"pkg:golang/aead.dev/minisign@v0.3.0", "pkg:golang/std@" + strings.TrimPrefix(runtime.Version(), "go")} {
		if refs[want] != want || !slices.Contains(uses, want) {
			t.Errorf("%s is not among the materials, or %s does not use it", want, name)
		}
	}
	if len(refs) != len(uses)+1 {
		t.Errorf("%d components and %d uses", len(refs), len(uses))
	}
}

// TestProvenance: every file is a subject by its sum, every module a material
// by Go's own sum, and nothing says when.
func TestProvenance(t *testing.T) {
	t.Setenv("RELEASE_SOURCE", "https://example.org/latchkey.git")
	t.Setenv("RELEASE_BUILDER", "https://example.org/builder/7")
	t.Chdir(t.TempDir())
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for name, text := range map[string]string{
		"go.sum":  "example.org/m v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nexample.org/m v1.0.0/go.mod h1:AAAA\n",
		"out/b":   "",
		"out/a/c": "abc",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	var out bytes.Buffer
	if err := run(t.Context(), []string{"provenance", "out", "1.2.3", commit}, &out); err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	type object = map[string]any
	want := object{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
		"subject": []any{
			object{"name": "a/c", "digest": object{"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}},
			object{"name": "b", "digest": object{"sha256": empty}},
		},
		"predicate": object{
			"buildDefinition": object{
				"buildType": "https://latchkey.invalid/latchkey/build/make-release/v1", "externalParameters": object{"source": "https://example.org/latchkey.git", "version": "1.2.3"},
				"resolvedDependencies": []any{
					object{"uri": "git+https://example.org/latchkey.git", "digest": object{"gitCommit": commit}},
					object{"name": "go", "uri": "pkg:golang/toolchain@" + runtime.Version()},
					object{"uri": "pkg:golang/example.org/m@v1.0.0", "digest": object{"dirHash": empty}},
				},
			},
			"runDetails": object{"builder": object{"id": "https://example.org/builder/7"}},
		},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b object) bool { return cmp.Equal(map[string]any(a), map[string]any(b)) })); diff != "" {
		t.Errorf("provenance (-want +got):\n%s", diff)
	}

	for _, wrong := range []string{"", "unknown", commit[1:], commit + "-dirty"} {
		if err := run(t.Context(), []string{"provenance", "out", "1.2.3", wrong}, &out); err == nil {
			t.Errorf("provenance of the commit %q was printed", wrong)
		}
	}
}

// Package schematest judges files by the JSON Schemas that strictyaml makes.
package schematest

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Compile compiles a schema and returns what judges files by it, as the
// language servers of editors do.
func Compile(tb testing.TB, schema map[string]any) func(file string) error {
	tb.Helper()
	text, err := json.Marshal(schema)
	if err != nil {
		tb.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", document); err != nil {
		tb.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		tb.Fatal(err)
	}
	return func(file string) error {
		var v any
		if err := yaml.Unmarshal([]byte(file), &v); err != nil {
			return err
		}
		return compiled.Validate(v)
	}
}

// Words are the fields of a schema that take a word of a list, with the
// list, by their paths.
func Words(schema map[string]any) map[string][]string {
	found := map[string][]string{}
	var walk func(path string, s map[string]any)
	walk = func(path string, s map[string]any) {
		if words, ok := s["enum"].([]string); ok {
			found[path] = words
		}
		if properties, ok := s["properties"].(map[string]any); ok {
			for key, p := range properties {
				walk(path+"."+key, p.(map[string]any))
			}
		}
		if items, ok := s["items"].(map[string]any); ok {
			walk(path, items)
		}
		if all, ok := s["anyOf"].([]any); ok {
			for _, one := range all {
				walk(path, one.(map[string]any))
			}
		}
	}
	walk("", schema)
	return found
}

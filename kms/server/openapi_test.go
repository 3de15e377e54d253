package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// A document is the OpenAPI document, and what of it was seen in answers.
type document31 struct {
	t     testing.TB
	paths map[string]map[string]operation
	types map[string]map[string]any
	seen  map[string]bool // schema ‖ "." ‖ property
	asked map[string]map[int]bool
}

type operation struct {
	Scope       string `json:"x-scope"`
	Parameters  []struct{ Name string }
	RequestBody *struct{ Content map[string]body } `json:"requestBody"`
	Responses   map[string]struct{ Content map[string]body }
}

type body struct{ Schema map[string]any }

func readDocument(t testing.TB, f *fixture) *document31 {
	t.Helper()
	status, text := get(f.AdminHandler(), "/v1/openapi.json")
	var raw struct {
		OpenAPI    string `json:"openapi"`
		Paths      map[string]map[string]operation
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal(text, &raw); status != 200 || err != nil || raw.OpenAPI != "3.1.0" {
		t.Fatalf("the document: status %d, %v, version %q", status, err, raw.OpenAPI)
	}
	return &document31{t, raw.Paths, raw.Components.Schemas, map[string]bool{}, map[string]map[int]bool{}}
}

// check compares an answer with what the document says of it.
func (d *document31) check(method, target string, status int, media string, answer []byte) {
	d.t.Helper()
	path, _, _ := strings.Cut(target, "?")
	op, ok := d.paths[path][strings.ToLower(method)]
	if !ok {
		d.t.Errorf("%s %s is not in the document", method, path)
		return
	}

	name := method + " " + path
	if d.asked[name] == nil {
		d.asked[name] = map[int]bool{}
	}
	d.asked[name][status] = true
	response, ok := op.Responses[fmt.Sprint(status)]
	if !ok {
		d.t.Errorf("%s: status %d is not in the document", name, status)
		return
	}

	content, ok := response.Content[media]
	if !ok {
		d.t.Errorf("%s, status %d: content type %q is not in the document", name, status, media)
		return
	}

	if content.Schema == nil {
		return // bytes as they are
	}
	var v any
	if err := json.Unmarshal(answer, &v); err != nil {
		d.t.Errorf("%s, status %d: %v in %.200s", name, status, err, answer)
		return
	}

	if wrong := d.compare(content.Schema, v, name); wrong != "" {
		d.t.Errorf("%s, status %d: %s", name, status, wrong)
	}
}

// compare says where a value is not of a schema.
func (d *document31) compare(schema map[string]any, v any, at string) string {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		return d.compare(d.types[name], v, name)
	}

	if any, ok := schema["anyOf"].([]any); ok {
		wrong := ""
		for _, one := range any {
			if wrong = d.compare(one.(map[string]interface{}), v, at); wrong == "" {
				return ""
			}
		}
		return wrong
	}

	kinds, ok := schema["type"].([]any)
	if !ok {
		kinds = []any{schema["type"]}
	}
	if !slices.Contains(kinds, kindOf(v)) {
		return fmt.Sprintf("%s is %v, the document says %v", at, v, kinds)
	}

	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if wrong := d.compare(schema["items"].(map[string]any), e, at+"[]"); wrong != "" {
				return wrong
			}
		}
	case map[string]any:
		return d.compareObject(schema, v, at)
	case string:
		if _, err := time.Parse(time.RFC3339, v); schema["format"] == "date-time" && err != nil {
			return fmt.Sprintf("%s is %q, no time", at, v)
		}
	}

	return ""
}

func (d *document31) compareObject(schema map[string]any, v map[string]any, at string) string {
	properties, _ := schema["properties"].(map[string]any)
	for key, value := range v {
		of, ok := properties[key].(map[string]any)
		if !ok {
			if of, ok = schema["additionalProperties"].(map[string]any); !ok {
				return fmt.Sprintf("%s has %q, which is not in the document", at, key)
			}
		}
		d.seen[at+"."+key] = true
		if wrong := d.compare(of, value, at+"."+key); wrong != "" {
			return wrong
		}
	}

	required, _ := schema["required"].([]any) // maps have none
	for _, key := range required {
		if _, ok := v[key.(string)]; !ok {
			return fmt.Sprintf("%s lacks %q", at, key)
		}
	}

	return ""
}

func kindOf(v any) any {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"

	case []any:
		return "array"
	case map[string]any:
		return "object"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
	}
	return "number"
}

// ask sends a request to the administration, and checks the answer.
func (d *document31) ask(h http.Handler, method, target, text string) (int, []byte) {
	d.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(text))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	d.check(method, target, w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
	return w.Code, w.Body.Bytes()
}

// unseen are the properties of a type that no answer had.
func (d *document31) unseen() (list []string) {
	for name, schema := range d.types {
		properties, _ := schema["properties"].(map[string]any)
		for key := range properties {
			if at := name + "." + key; !d.seen[at] {
				list = append(list, at)
			}
		}
	}
	return slices.Sorted(slices.Values(list))
}

// bodies are the types that are sent, in no answer.
var bodies = []string{"lk1.Handing", "lk1.Approval", "admin.NewToken", "policy.Change", "rulebook.NewEdition", "release.New", "release.Options", "tang.Files", "site.NewSite", "site.Bounds"}

// every field that the document names in a body is taken, and no other.
func (d *document31) checkBodies(h http.Handler) {
	d.t.Helper()
	samples := map[string]any{
		"who": "one two three four five six", "no_pcrs": true, "unmeasured": true, "move": true, "bind": true, "shown": "x", "secrets": "keep", "volumes": []string{}, "name": "x", "scope": "read",
		"expires": "2001-01-01T00:00:00Z", "settings": map[string]any{}, "labels": map[string]string{}, "clear": []string{},
		"release": "r", "pcrs": map[string]any{}, "chain": map[string]any{}, "public_key": "x", "signatures": "x", "what": "x", "group": "site=x", "canary_percent": 5, "failures_percent": 5,
		"reason": "x", "within": "1h", "retire": "x", "files": []any{}, "bounds": map[string]any{}, "center": []string{}, "again": true, "text": "x", "base": 1,
		"offline": "1h", "releases": 1, "machines": 1, "in_all": 1,
	}
	for path, methods := range d.paths {
		op := methods["post"]
		if op.RequestBody == nil || op.RequestBody.Content["application/json"].Schema == nil {
			continue
		}

		name := strings.TrimPrefix(op.RequestBody.Content["application/json"].Schema["$ref"].(string), "#/components/schemas/")
		if !slices.Contains(bodies, name) {
			d.t.Errorf("%s takes %s, which this test does not know", path, name)
		}
		properties := slices.Sorted(maps.Keys(d.types[name]["properties"].(map[string]any)))
		for _, key := range append(properties, "unknown") {
			text, err := json.Marshal(map[string]any{key: samples[key]})
			if err != nil {
				d.t.Fatal(err)
			}
			if key != "unknown" && samples[key] == nil {
				d.t.Errorf("%s: %s is not tried", path, key)
			}
			_, answer := d.ask(h, "POST", path+"?who=nobody-at-all", string(text))
			if refused := strings.Contains(string(answer), "no key"); refused != (key == "unknown") {
				d.t.Errorf("%s with %s: %s", path, key, answer)
			}
		}
	}
}

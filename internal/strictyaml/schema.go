package strictyaml

import (
	"encoding"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A Schemer is a value that is neither plain text nor only a struct of keys,
// and says itself what may stand there.
type Schemer interface {
	// Schema returns a JSON Schema. of is that of any other value.
	Schema(of func(v any) map[string]any) map[string]any
}

// Schema describes the files that Decode takes for a struct, as a JSON Schema
// (draft 2020-12): keys and kinds of values, not what only a program can
// judge. The words that a field may have stand in its tag "words", what text
// must match in "pattern", and the least and most of a number, or of the
// items of a list, in "least" and "most". about has a text for keys, by their
// paths, as in volumes[].uuid; texts may be missing.
// A key without a value, which Decode takes for one that is not there, is
// not in it.
func Schema(title string, config any, about map[string]string) map[string]any {
	s := schema{about}.of(reflect.TypeOf(config), "", "")
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", title
	return s
}

type schema struct{ about map[string]string }

// of is the schema of a type whose value stands at a path.
func (s schema) of(t reflect.Type, path, words string) map[string]any {
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem(), path, words)
	}
	if own, ok := reflect.New(t).Interface().(Schemer); ok {
		return own.Schema(func(v any) map[string]any { return s.keys(reflect.TypeOf(v), path) })
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		if keys := s.keys(t, path); t.Kind() == reflect.Struct && len(keys["properties"].(map[string]any)) > 0 {
			return map[string]any{"anyOf": []any{text(words), keys}}
		}
		return text(words)
	}

	switch {
	case t == reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "string", "pattern": `^[-+]?(0|([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$`}
	case t.Kind() == reflect.Struct:
		return s.keys(t, path)
	case t.Kind() == reflect.Slice:
		one := s.of(t.Elem(), path+"[]", words)
		return map[string]any{"anyOf": []any{map[string]any{"type": "array", "items": one}, one}}
	case t.Kind() == reflect.Bool:
		return map[string]any{"enum": []any{true, false, "on", "off", "yes", "no"}} // the latter four are text in YAML 1.2
	case t.Kind() == reflect.String:
		return text(words)
	}
	return map[string]any{"type": "integer"}
}

// text is a value of text: YAML takes 1.3 and true for other kinds, Decode
// does not.
func text(words string) map[string]any {
	if words != "" {
		return map[string]any{"enum": strings.Fields(words)}
	}
	return map[string]any{"type": []string{"string", "number", "boolean"}}
}

// keys is the schema of a struct of keys.
func (s schema) keys(t reflect.Type, path string) map[string]any {
	properties := map[string]any{}
	s.fields(t, path, properties)
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

func (s schema) fields(t reflect.Type, path string, properties map[string]any) {
	if t.Kind() != reflect.Struct {
		return
	}
	for f := range t.Fields() {
		key := KeyOf(f)
		switch {
		case f.Anonymous:
			s.fields(f.Type, path, properties)
			continue
		case key == "":
			continue
		}
		at := strings.TrimPrefix(path+"."+key, ".")
		p := s.of(f.Type, at, f.Tag.Get("words"))
		limit(p, f.Tag)
		if about := s.about[at]; about != "" {
			p["description"] = about
		}
		properties[key] = p
	}
}

// limit adds to a schema what a field's tag says beside its words.
func limit(p map[string]any, tag reflect.StructTag) {
	if pattern := tag.Get("pattern"); pattern != "" {
		p["type"], p["pattern"] = "string", pattern
	}
	for _, bound := range []struct{ tag, number, items string }{{"least", "minimum", "minItems"}, {"most", "maximum", "maxItems"}} {
		n, err := strconv.Atoi(tag.Get(bound.tag))
		if err != nil {
			continue
		}
		either, list := p["anyOf"].([]any)
		if !list {
			p[bound.number] = n
			continue
		}
		either[0].(map[string]any)[bound.items] = n
		if bound.tag == "least" && n > 1 {
			p["anyOf"] = either[:1] // one alone, without a list, is too few
		}
	}
}

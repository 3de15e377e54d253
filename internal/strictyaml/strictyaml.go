// Package strictyaml reads configuration files of people: what is misspelled,
// said twice or of the wrong kind is an error that names the file's line, and
// the key that was probably meant.
package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/spelling"
)

// MaxBytes caps a file.
const MaxBytes = 1 << 20

// Lines say where each key of a file stands: "kms.yaml:3", by the key's path
// as in listen[0].tls.key.
type Lines map[string]string

// Of is where a key stands or, if it is not there, what it would be part of.
func (l Lines) Of(key string) (at string, known bool) {
	for ; key != "" && !known; key = key[:max(strings.LastIndexAny(key, ".["), 0)] {
		at, known = l[key]
	}
	return at, known
}

// Decode reads one document into to, a pointer to a struct: unknown and
// repeated keys, anchors, aliases and second documents are errors that begin
// with the file's name and the line. It notes in lines where each key stands.
//
// Keys are the fields' yaml tags. A field whose pointer is a TextUnmarshaler
// is one value; if it is a struct with keys, too, it may be either.
func Decode(file string, text []byte, to any, lines Lines) error {
	if len(text) > MaxBytes {
		return fmt.Errorf("%s: more than %d bytes", file, MaxBytes)
	}
	if err := IsText(file, text); err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	if err := d.Decode(&document); errors.Is(err, io.EOF) {
		return nil // nothing but comments: all defaults
	} else if err != nil {
		return syntax(file, err)
	}

	var second yaml.Node
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: there is a second document", file)
	}

	r := &reader{file, lines}
	return r.value(document.Content[0], reflect.ValueOf(to).Elem(), "")
}

// syntax is the library's error with its line, if it has one, in our form.
func syntax(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if line, found := strings.CutPrefix(text, "line "); found {
		return fmt.Errorf("%s:%s", file, line)
	}
	return fmt.Errorf("%s: %s", file, text)
}

// A KeyTeller is a struct that says itself what is wrong with a key that it
// has not.
type KeyTeller interface {
	UnknownKey(key string) error
}

type reader struct {
	file  string
	lines Lines
}

func (r *reader) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.file, n.Line) }

func (r *reader) value(n *yaml.Node, to reflect.Value, path string) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return fmt.Errorf("%s: anchors and aliases are not supported", r.at(n))
	}
	if n.Style&yaml.TaggedStyle != 0 {
		return fmt.Errorf("%s: tags such as %.64s are not supported", r.at(n), n.Tag)
	}
	r.lines[path] = r.at(n)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}

	if _, ok := to.Addr().Interface().(encoding.TextUnmarshaler); ok && (n.Kind == yaml.ScalarNode || !hasKeys(to)) {
		return r.scalar(n, to, path)
	}
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		return r.value(n, to.Elem(), path)
	case reflect.Struct:
		return r.mapping(n, to, path)
	case reflect.Slice:
		return r.sequence(n, to, path)
	}

	return r.scalar(n, to, path)
}

func (r *reader) mapping(n *yaml.Node, to reflect.Value, path string) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%s: %s: expected keys with values (key: value), found %s", r.at(n), top(path), found(n))
	}
	fields := map[string]reflect.Value{}
	names := keysOf(to, fields)
	seen := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		field, known := fields[key.Value]
		if teller, ok := to.Addr().Interface().(KeyTeller); ok && !known {
			return fmt.Errorf("%s: %s: %w", r.at(key), top(path), teller.UnknownKey(key.Value))
		}
		if !known {
			return fmt.Errorf("%s: unknown key %.64q%s", r.at(key), key.Value, spelling.Suggest(key.Value, names))
		}

		if line, twice := seen[key.Value]; twice {
			return fmt.Errorf("%s: %s is already set in line %d", r.at(key), key.Value, line)
		}
		seen[key.Value] = key.Line
		if n := n.Content[i+1]; n.Tag == "!!null" || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
			if words := tagOf(to.Type(), key.Value).Get("empty"); words != "" {
				return fmt.Errorf("%s: %s is there without a value: %s", r.at(key), key.Value, words)
			}
		}
		child := key.Value
		if path != "" {
			child = path + "." + child
		}

		if err := r.value(n.Content[i+1], field, child); err != nil {
			return err
		}
		r.lines[child] = r.at(key)
	}

	return nil
}

// keysOf lists a struct's keys, with where their values go. Those of an
// embedded struct are its own.
func keysOf(to reflect.Value, fields map[string]reflect.Value) (names []string) {
	for i := range to.NumField() {
		name := KeyOf(to.Type().Field(i))
		switch {
		case to.Type().Field(i).Anonymous:
			names = append(names, keysOf(to.Field(i), fields)...)
		case name != "":
			fields[name] = to.Field(i)
			names = append(names, name)
		}
	}
	return names
}

// hasKeys tells a struct of keys from one that is a single value.
func hasKeys(to reflect.Value) bool {
	return to.Kind() == reflect.Struct && len(keysOf(to, map[string]reflect.Value{})) > 0
}

// tagOf is the tag of a key's field. "empty" there says why a list may not be
// without elements: where none is no bound, it is more than somebody meant.
func tagOf(to reflect.Type, key string) reflect.StructTag {
	for i := range to.NumField() {
		f := to.Field(i)
		if f.Anonymous {
			if tag := tagOf(f.Type, key); tag != "" {
				return tag
			}
		} else if KeyOf(f) == key {
			return f.Tag
		}
	}
	return ""
}

// KeyOf is a field's key; "" if it has none.
func KeyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return strings.TrimPrefix(name, "-") // "-" is what the owner makes, and no key
}

// sequence: one value may stand for a list of one.
func (r *reader) sequence(n *yaml.Node, to reflect.Value, path string) error {
	elements := n.Content
	if n.Kind != yaml.SequenceNode {
		elements = []*yaml.Node{n}
	}
	list := reflect.MakeSlice(to.Type(), len(elements), len(elements))
	for i, e := range elements {
		if err := r.value(e, list.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	to.Set(list)
	return nil
}

func (r *reader) scalar(n *yaml.Node, to reflect.Value, path string) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("%s: %s: expected one value, found %s", r.at(n), top(path), found(n))
	}
	if text, ok := to.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := text.UnmarshalText([]byte(n.Value)); err != nil {
			return fmt.Errorf("%s: %s: %w", r.at(n), path, inWords(to, n.Value, err))
		}
		return nil
	}

	want := "text"
	switch {
	case to.Type() == reflect.TypeFor[time.Duration]():
		want = "a duration like 90s or 12h"
	case to.Kind() == reflect.Bool:
		want = "true or false"
	case to.CanInt(), to.CanUint():
		if want = "a whole number"; n.ShortTag() != "!!int" { // the decoder would cut 1.5 to 1
			return fmt.Errorf("%s: %s: %.64q is not %s", r.at(n), path, n.Value, want)
		}
	}
	if err := n.Decode(to.Addr().Interface()); err != nil {
		return fmt.Errorf("%s: %s: %.64q is not %s", r.at(n), path, n.Value, want)
	}
	return nil
}

// inWords replaces errors of the library, which name its functions.
func inWords(to reflect.Value, value string, err error) error {
	if to.Type() == reflect.TypeFor[netip.Prefix]() {
		return fmt.Errorf("%.64q is not a network such as 192.0.2.0/24", value)
	}
	return err
}

// found names what stands there instead of what is expected.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%.64q", n.Value)
}

func top(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

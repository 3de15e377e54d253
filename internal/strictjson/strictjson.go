// Package strictjson reads JSON that two readers cannot understand
// differently: no key twice, none that differs in case only, nothing after
// the value, no deep nesting. (Go's decoder lets the last of equal keys win
// and ignores case.)
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// maxDepth bounds the nesting of JSON that we take.
const maxDepth = 8

// errJSON is JSON that two readers could understand differently.
var errJSON = errors.New("malformed JSON")

// Decode reads exactly one JSON object into to, a pointer to a struct. A key
// that the struct does not have is an error.
func Decode(r io.Reader, to any) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	if err := check(body, nil); err != nil {
		return err
	}
	if err := checkKeys(body, reflect.TypeOf(to).Elem()); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("reading JSON: %w", inWords(err))
	}
	return nil
}

// DecodeKnown reads exactly one JSON object into to. Keys that are not among
// known are passed over, for peers of other versions may send more; none
// differs from one of known in case only, or by a letter that folds to it.
func DecodeKnown(message []byte, to any, known ...string) error {
	if err := check(message, known); err != nil {
		return err
	}
	if err := json.Unmarshal(message, to); err != nil {
		return fmt.Errorf("reading JSON: %w: %w", errJSON, inWords(err))
	}
	return nil
}

// check: one object, and nothing after it.
func check(message []byte, known []string) error {
	if start := bytes.TrimLeft(message, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		return fmt.Errorf("reading JSON: %w: no object", errJSON)
	}
	d := json.NewDecoder(bytes.NewReader(message))
	if err := checkValue(d, 0, known); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("reading JSON: %w: something follows it", errJSON)
	}
	return nil
}

// checkKeys compares the keys of an object with a struct's, and those of
// the objects in it that are structs too.
func checkKeys(body []byte, t reflect.Type) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil {
		return inWords(err)
	}

	for key, value := range keys {
		field, ok := fieldOf(t, key)
		if !ok {
			return fmt.Errorf("%w: no key %q", errJSON, key)
		}
		if field.Kind() != reflect.Struct || !bytes.HasPrefix(value, []byte("{")) || field.Implements(unmarshaler) || reflect.PointerTo(field).Implements(unmarshaler) {
			continue
		}
		if err := checkKeys(value, field); err != nil {
			return err
		}
	}

	return nil
}

var unmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name == key {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// checkValue walks one value and looks for repeated and differently spelt
// keys, and for too much depth.
func checkValue(d *json.Decoder, depth int, known []string) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: %w", errJSON, inWords(err))
	}

	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}

	if depth == maxDepth {
		return fmt.Errorf("%w: nested deeper than %d", errJSON, maxDepth)
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			if err := checkKey(d, seen, known); err != nil {
				return err
			}
		}
		if err := checkValue(d, depth+1, known); err != nil {
			return err
		}
	}

	if _, err = d.Token(); err != nil { // the closing one
		return fmt.Errorf("%w: %w", errJSON, inWords(err))
	}
	return nil
}

func checkKey(d *json.Decoder, seen map[string]bool, known []string) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: %w", errJSON, inWords(err))
	}
	key, _ := token.(string)
	folded := strings.ToLower(key)
	if seen[folded] {
		return fmt.Errorf("%w: key %q twice", errJSON, key)
	}
	seen[folded] = true
	if !slices.Contains(known, key) && slices.ContainsFunc(known, func(o string) bool { return strings.EqualFold(o, key) }) {
		return fmt.Errorf("%w: key %q is spelt differently", errJSON, key)
	}
	return nil
}

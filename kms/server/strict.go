package server

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// maxDepth bounds the nesting of JSON that we take.
const maxDepth = 8

// errJSON is JSON that two readers could understand differently.
var errJSON = errors.New("malformed JSON")

// decodeJSON reads exactly one JSON object into to, a pointer to a struct:
// no unknown, repeated or differently spelt keys, nothing after it. (Go's
// decoder lets the last of equal keys win and ignores case.)
func decodeJSON(r io.Reader, to any) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}

	d := json.NewDecoder(bytes.NewReader(body))
	if err := checkValue(d, 0); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}

	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("reading JSON: %w: something follows it", errJSON)
	}
	if err := checkKeys(body, reflect.TypeOf(to).Elem()); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}

	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	return nil
}

// checkKeys compares the keys of an object with a struct's, and those of
// the objects in it that are structs too.
func checkKeys(body []byte, t reflect.Type) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil {
		return err
	}

	for key, value := range keys {
		field, ok := fieldOf(t, key)
		if !ok {
			return fmt.Errorf("%w: no key %q", errJSON, key)
		}
		if field.Kind() != reflect.Struct || string(value) == "null" || field.Implements(unmarshaler) || reflect.PointerTo(field).Implements(unmarshaler) {
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

// checkValue walks one value and looks for repeated keys, compared without
// case, and for too much depth.
func checkValue(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: %w", errJSON, err)
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
			key, err := d.Token()
			if err != nil {
				return fmt.Errorf("%w: %w", errJSON, err)
			}
			folded := strings.ToLower(fmt.Sprint(key))
			if seen[folded] {
				return fmt.Errorf("%w: key %q twice", errJSON, key)
			}
			seen[folded] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}

	_, err = d.Token() // the closing one
	return err
}

package kairos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"latchkey/internal/secret"
)

// maxDepth bounds the nesting of JSON that we take.
const maxDepth = 8

// errJSON is JSON that two readers could understand differently.
var errJSON = errors.New("malformed JSON")

// decode reads exactly one JSON object into to. Keys that we do not know
// are passed over: other versions of their client may send more. None is
// there twice, and none differs from one of ours in case only, or by a
// letter that folds to ours: Go's decoder would take it.
func decode(message []byte, to any, ours ...string) error {
	d := json.NewDecoder(bytes.NewReader(message))
	if len(bytes.TrimLeft(message, " \t\r\n")) == 0 || bytes.TrimLeft(message, " \t\r\n")[0] != '{' {
		return fmt.Errorf("reading JSON: %w: no object", errJSON)
	}
	if err := walk(d, 0, ours); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("reading JSON: %w: something follows it", errJSON)
	}
	if err := json.Unmarshal(message, to); err != nil {
		return fmt.Errorf("reading JSON: %w: %w", errJSON, err)
	}
	return nil
}

// walk checks one value.
func walk(d *json.Decoder, depth int, ours []string) error {
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
			if err := walkKey(d, seen, ours); err != nil {
				return err
			}
		}
		if err := walk(d, depth+1, ours); err != nil {
			return err
		}
	}

	_, err = d.Token() // the closing one
	return err
}

func walkKey(d *json.Decoder, seen map[string]bool, ours []string) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: %w", errJSON, err)
	}
	key, _ := token.(string)
	folded := strings.ToLower(key)
	if seen[folded] {
		return fmt.Errorf("%w: key %q twice", errJSON, key)
	}
	seen[folded] = true
	if !slices.Contains(ours, key) && slices.ContainsFunc(ours, func(o string) bool { return strings.EqualFold(o, key) }) {
		return fmt.Errorf("%w: key %q is spelt differently", errJSON, key)
	}
	return nil
}

// quoted appends s to b as a JSON string, without a copy that nobody wipes.
func quoted(b []byte, s secret.Bytes) ([]byte, error) {
	if !utf8.Valid(s.Reveal()) {
		return b, errors.New("encoding a passphrase: it is no text, which the legacy exchange needs")
	}
	b = append(b, '"')
	for _, c := range s.Reveal() {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}

	return append(b, '"'), nil
}

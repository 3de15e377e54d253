package luks2

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxDepth is deeper than any header that cryptsetup writes (4) and any
// token in the field (clevis nests 5 below its token).
const maxDepth = 16

// jsonText returns the JSON of an area. Like cryptsetup
// (validate_json_area) it wants '{' first and only zeros after the last
// '}'.
func jsonText(area []byte) ([]byte, error) {
	text, rest, found := bytes.Cut(area, []byte{0})
	if !found || len(bytes.TrimLeft(rest, "\x00")) > 0 {
		return nil, reject("json-trailing", "something follows the JSON text")
	}

	if len(text) == 0 || text[0] != '{' || !utf8.Valid(text) {
		return nil, reject("json-syntax", "the JSON area does not hold a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	var whole json.RawMessage
	if err := d.Decode(&whole); err != nil {
		return nil, reject("json-syntax", "%v", err)
	}

	if d.InputOffset() != int64(len(text)) {
		return nil, reject("json-trailing", "something follows the JSON text")
	}
	return text, checkNesting(text)
}

// checkNesting refuses duplicate keys, which parsers resolve differently,
// and deep nesting. The text is known to be valid JSON.
func checkNesting(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var keys []map[string]bool // nil for an array
	expectKey := false
	for {
		tok, err := d.Token()
		if err != nil {
			return nil // the end of a valid text
		}

		if key, ok := tok.(string); ok && expectKey {
			if keys[len(keys)-1][key] {
				return reject("json-duplicate", "the key %q is there twice", key)
			}
			keys[len(keys)-1][key] = true
			expectKey = false
			continue
		}

		switch tok {
		case json.Delim('{'):
			keys = append(keys, map[string]bool{})
		case json.Delim('['):
			keys = append(keys, nil)
		case json.Delim('}'), json.Delim(']'):
			keys = keys[:len(keys)-1]
		}

		if len(keys) > maxDepth {
			return reject("json-depth", "nested deeper than %d", maxDepth)
		}
		expectKey = len(keys) > 0 && keys[len(keys)-1] != nil
	}
}

package ledger

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// fieldsOf has the JSON names of a struct type, in lower case: json finds
// fields so.
var fieldsOf sync.Map // reflect.Type → map[string]bool

func knownFields(t reflect.Type) map[string]bool {
	if known, ok := fieldsOf.Load(t); ok {
		return known.(map[string]bool)
	}
	known := map[string]bool{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		known[strings.ToLower(name)] = true
	}
	fieldsOf.Store(t, known)
	return known
}

// hasUnknown looks through an object's names, without decoding it: rows are
// written with every release. A name that has an escape may be unknown.
func hasUnknown(object []byte, known map[string]bool) bool {
	depth, name := 0, -1 // where the string that ended last began, if it may be a name
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			name = i + 1
			for i++; i < len(object) && object[i] != '"'; i++ {
				if object[i] == '\\' {
					i++
				}
			}
		case ':':
			if depth == 1 && name >= 0 && !known[strings.ToLower(string(bytes.TrimRight(object[name:i], "\" \t\r\n")))] {
				return true
			}
		}
	}
	return false
}

// keepUnknown adds to a row's JSON the fields of the row before that its
// type does not have: a later version wrote them.
func keepUnknown(row any, before, now []byte) []byte {
	t := reflect.TypeOf(row)
	if t == nil || t.Kind() != reflect.Struct || !bytes.HasSuffix(now, []byte("}")) {
		return now
	}
	known := knownFields(t)
	if !hasUnknown(before, known) {
		return now // as nearly always
	}
	var old map[string]json.RawMessage
	if json.Unmarshal(before, &old) != nil {
		return now
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if known[strings.ToLower(name)] {
			continue
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			continue
		}
		now = now[:len(now)-1]
		if len(now) > 1 {
			now = append(now, ',')
		}
		now = append(append(append(append(now, quoted...), ':'), old[name]...), '}')
	}
	return now
}

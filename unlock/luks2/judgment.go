package luks2

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
)

// judgment collects the first broken rule; after it all getters answer
// zero values.
type judgment struct {
	rules
	err *Rejected
}

// rules are what differs between the headers that are accepted.
type rules struct {
	accept   Accept
	detached bool // the payload is on another device than the header
}

// rule records that a rule is broken unless ok.
func (j *judgment) rule(ok bool, code, format string, args ...any) {
	if !ok && j.err == nil {
		j.err = reject(code, format, args...)
	}
}

// object splits an object that has each required and perhaps some of the
// optional fields, and nothing else. Without any names it has free keys.
func (j *judgment) object(raw json.RawMessage, what string, required []string, optional ...string) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if j.err == nil {
		err := json.Unmarshal(raw, &fields)
		j.rule(err == nil && fields != nil, "json-field", "%s is not an object", what)
	}
	if required == nil {
		return fields
	}

	for _, name := range required {
		j.rule(fields[name] != nil, "json-field", "%s lacks %q", what, name)
	}
	for _, name := range sortedKeys(fields) {
		j.rule(slices.Contains(required, name) || slices.Contains(optional, name), "json-field", "%s has the unknown field %q", what, name)
	}

	return fields
}

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (j *judgment) text(raw json.RawMessage, what string) (s string) {
	if j.err == nil {
		ok := len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil
		j.rule(ok, "json-field", "%s is not a string", what)
	}
	return s
}

// oneOf is a string out of a short list.
func (j *judgment) oneOf(raw json.RawMessage, code, what string, allowed ...string) string {
	s := j.text(raw, what)
	j.rule(slices.Contains(allowed, s), code, "%s is %q, accepted is %q", what, s, allowed)
	return s
}

// number is a JSON integer within bounds.
func (j *judgment) number(raw json.RawMessage, code, what string, low, high int64) int {
	n, ok := digits(string(raw))
	j.rule(ok && n >= low && n <= high, code, "%s is %.24s, accepted is %d to %d", what, raw, low, high)
	return int(n)
}

// decimal is a string of decimal digits: the specification, section 3.1,
// writes 64-bit integers so.
func (j *judgment) decimal(raw json.RawMessage, code, what string) int64 {
	s := j.text(raw, what)
	n, ok := digits(s)
	j.rule(ok, code, "%s is %.24q, not a decimal number", what, s)
	return n
}

// base64 is a standard, padded encoding of exactly as many bytes as one of
// the sizes says.
func (j *judgment) base64(raw json.RawMessage, code, what string, sizes ...int) []byte {
	s := j.text(raw, what)
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	j.rule(err == nil && slices.Contains(sizes, len(b)), code, "%s has %d bytes in base64, accepted is %d", what, len(b), sizes)
	return b
}

// ids are strings that are object numbers, each at most once.
func (j *judgment) ids(raw json.RawMessage, code, what string) []int {
	var list []string
	if j.err == nil {
		err := json.Unmarshal(raw, &list)
		j.rule(err == nil && list != nil, "json-field", "%s is not a list of strings", what)
	}
	var ids []int
	for _, s := range list {
		id := j.id(s, code, what)
		j.rule(!slices.Contains(ids, id), code, "%s names %d twice", what, id)
		ids = append(ids, id)
	}
	return ids
}

// maxObjects is LUKS2_KEYSLOTS_MAX and LUKS2_TOKENS_MAX in cryptsetup's
// lib/luks2/luks2.h.
const maxObjects = 32

func (j *judgment) id(s, code, what string) int {
	n, ok := digits(s)
	j.rule(ok && n < maxObjects, code, "%s has the number %.24q", what, s)
	return int(n)
}

// digits reads a canonical decimal number of at most 18 digits.
func digits(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 18 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

package strictyaml_test

import (
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"latchkey/internal/strictyaml"
)

// utf16Of is what editors save as UTF-16, with a mark or without.
func utf16Of(text, mark string, order binary.AppendByteOrder) []byte {
	b := []byte(mark)
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

// TestOtherEncodings: what is not UTF-8 is refused in one line that says how
// to save it, also where the library would read it.
func TestOtherEncodings(t *testing.T) {
	const good = "# a\nuuid: ä\n"
	for _, row := range []struct {
		name string
		text []byte
		want string
	}{
		{"UTF-8", []byte(good), ""},
		{"UTF-8 with its mark", []byte("\ufeff" + good), ""},
		{"UTF-16, little-endian", utf16Of(good, "\xff\xfe", binary.LittleEndian), "f.yaml: it is UTF-16: save it as UTF-8"},
		{"UTF-16, big-endian", utf16Of(good, "\xfe\xff", binary.BigEndian), "f.yaml: it is UTF-16: save it as UTF-8"},
		{"UTF-16 without a mark", utf16Of(good, "", binary.LittleEndian), "f.yaml:1: there is a NUL byte: if it is UTF-16, save it as UTF-8"},
		{"UTF-32", []byte("\xff\xfe\x00\x00u\x00\x00\x00"), "f.yaml: it is UTF-32: save it as UTF-8"},
		{"a NUL", []byte("# a\nuuid: a\x00\n"), "f.yaml:2: there is a NUL byte: if it is UTF-16, save it as UTF-8"},
		{"Latin-1", []byte("# a\n# b\nuuid: \xe4\n"), "f.yaml:3: the byte 0xe4 is not of UTF-8: save it as UTF-8"},
	} {
		var got struct {
			UUID string `yaml:"uuid"`
		}
		err := strictyaml.Decode("f.yaml", row.text, &got, strictyaml.Lines{})
		if row.want == "" && (err != nil || got.UUID != "ä") || row.want != "" && (err == nil || err.Error() != row.want) {
			t.Errorf("%s: %v, %q, want %q", row.name, err, got.UUID, row.want)
		}
	}
}

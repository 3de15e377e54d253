package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"latchkey/internal/cli"
)

// TestPlanOfWhat: what is no configuration is the same to plan show and to
// image build, and an image is told by how it begins.
func TestPlanOfWhat(t *testing.T) {
	const good = "trust: {kms: [\"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=\"]}\nvolumes: [{uuid: 11111111-2222-3333-4444-555555555555}]\n"
	wide := "\xff\xfe"
	for _, u := range utf16.Encode([]rune(good)) {
		wide += string([]byte{byte(u), byte(u >> 8)})
	}
	const unclear = " (and it is no image)"
	for _, row := range []struct{ name, text, want string }{
		{"a configuration", good, ""},
		{"with a mark", "\ufeff" + good, ""},
		{"UTF-16", wide, ": it is UTF-16: save it as UTF-8"},
		{"a NUL", good + "\x00\n", ":3: there is a NUL byte: if it is UTF-16, save it as UTF-8"},
		{"misspelled", good + "wiat: 3s\n", `:3: unknown key "wiat"; did you mean "wait"?`},
		{"Latin-1", "# \xe4\n" + good, ":1: the byte 0xe4 is not of UTF-8: save it as UTF-8"},
		{"something", "\x80\x81\x82\x83" + strings.Repeat("\x90", 500), ":1: the byte 0x80 is not of UTF-8: save it as UTF-8"},
	} {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, shown := readPlan(path)
		_, built := readConfig(path)
		if row.want == "" {
			if shown != nil || built != nil {
				t.Errorf("%s: %v, %v", row.name, shown, built)
			}
			continue
		}
		for _, err := range []error{shown, built} {
			if exit, ok := errors.AsType[*cli.Exit](err); !ok || exit.Code != cli.Usage {
				t.Errorf("%s: %v, want exit code %d", row.name, err, cli.Usage)
			}
		}
		text, isUnclear := strings.CutSuffix(shown.Error(), unclear)
		if text != path+row.want || built.Error() != text {
			t.Errorf("%s: %q and %q, want %q", row.name, shown, built, row.want)
		}
		if wants := row.name == "something" || row.name == "Latin-1"; isUnclear != wants {
			t.Errorf("%s: %q, unclear should be %v", row.name, shown, wants)
		}
	}

	for name, text := range map[string]string{"zeros": strings.Repeat("\x00", 600), "an archive": "070701" + strings.Repeat("x", 200), "zstd": "\x28\xb5\x2f\xfdxxxxxxx"} {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readPlan(path)
		if _, ok := errors.AsType[*cli.Exit](err); err == nil || ok {
			t.Errorf("%s: %v, want an image's error", name, err)
		}
	}
}

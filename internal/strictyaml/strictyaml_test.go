package strictyaml_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/strictyaml"
)

// An either is a word, or a struct of keys.
type either struct {
	Word string `yaml:"-"`
	File *struct {
		Path string `yaml:"path"`
	} `yaml:"file"`
}

func (e *either) UnmarshalText(text []byte) error {
	e.Word = string(text)
	return nil
}

// TestDecode: values come to their fields, and each key is found again by its
// line; what is not there is where it would be.
func TestDecode(t *testing.T) {
	var got struct {
		From []either `yaml:"from"`
		On   *bool    `yaml:"on"`
	}
	lines := strictyaml.Lines{}
	if err := strictyaml.Decode("x.yaml", []byte("from:\n  - a\n  - file:\n      path: /b\non: false\n"), &got, lines); err != nil {
		t.Fatal(err)
	}
	if len(got.From) != 2 || got.From[0].Word != "a" || got.From[1].File == nil || got.From[1].File.Path != "/b" || got.On == nil || *got.On {
		t.Errorf("Decode = %+v", got)
	}

	where := map[string]string{}
	for _, key := range []string{"from", "from[0]", "from[1].file", "from[1].file.path", "from[1].file.size", "on"} {
		where[key], _ = lines.Of(key)
	}
	if diff := cmp.Diff(map[string]string{
		"from": "x.yaml:1", "from[0]": "x.yaml:2", "from[1].file": "x.yaml:3", "from[1].file.path": "x.yaml:4", "from[1].file.size": "x.yaml:3", "on": "x.yaml:5",
	}, where); diff != "" {
		t.Errorf("where keys stand (-want +got):\n%s", diff)
	}
	if at, known := lines.Of("off.x"); known {
		t.Errorf("Of a key that is not there = %s", at)
	}
}

// A list is no word and no keys, for what may be either.
func TestEither(t *testing.T) {
	var got struct {
		One either `yaml:"one"`
	}
	err := strictyaml.Decode("x.yaml", []byte("one: [a]\n"), &got, strictyaml.Lines{})
	if want := "x.yaml:1: one: expected keys with values (key: value), found a list"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Decode = %v, want %s", err, want)
	}
}

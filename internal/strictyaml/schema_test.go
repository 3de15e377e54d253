package strictyaml_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/strictyaml"
)

type disk struct {
	UUID string        `yaml:"uuid"`
	Wait time.Duration `yaml:"wait"`
	Slot *int          `yaml:"slot"`
}

type machine struct {
	disk   `yaml:",inline"`
	Action string   `yaml:"action" words:"halt reboot"`
	Debug  bool     `yaml:"debug"`
	More   []disk   `yaml:"more"`
	Made   []string `yaml:"-"`
	Pair   []string `yaml:"pair" least:"2" most:"3"`
	Some   []string `yaml:"some" least:"1"`
	Form   string   `yaml:"form" pattern:"^x"`
	Count  int      `yaml:"count" least:"1" most:"9"`
	hidden string
}

// TestSchemaOf: keys, kinds, words and what a page says of them.
func TestSchemaOf(t *testing.T) {
	about := strictyaml.About("| field | meaning | default |\n|---|---|---|\n" +
		"| `uuid`, `wait` | of the `disk`, see [there](x.md) | `5s` |\n" +
		"| `more[]` | others | |\n" +
		"| `…slot` | **its** keyslot | required |\n")
	const text = `{"type": ["string", "number", "boolean"]}`
	const duration = `"type": "string", "pattern": "^[-+]?(0|([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|µs|ms|s|m|h))+$"`
	const other = `{"type": "object", "additionalProperties": false, "properties": {"uuid": ` + text + `, "wait": {` + duration + `}, "slot": {"type": "integer", "description": "its keyslot"}}}`
	want := `{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "type": "object", "additionalProperties": false, "properties": {
			"uuid": {"type": ["string", "number", "boolean"], "description": "of the disk, see there (default: 5s)"},
			"wait": {` + duration + `, "description": "of the disk, see there (default: 5s)"},
			"slot": {"type": "integer"},
			"action": {"enum": ["halt", "reboot"]},
			"pair": {"anyOf": [{"type": "array", "items": ` + text + `, "minItems": 2, "maxItems": 3}]},
			"some": {"anyOf": [{"type": "array", "items": ` + text + `, "minItems": 1}, ` + text + `]},
			"form": {"type": "string", "pattern": "^x"}, "count": {"type": "integer", "minimum": 1, "maximum": 9},
			"debug": {"enum": [true, false, "on", "off", "yes", "no"]},
			"more": {"anyOf": [{"type": "array", "items": ` + other + `}, ` + other + `], "description": "others"}}}`

	got, err := json.Marshal(strictyaml.Schema("t", machine{hidden: "x"}, about))
	if err != nil {
		t.Fatal(err)
	}
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
}

package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// recipes is a plan whose root opens by some combinations.
func recipes(ways ...[]string) *plan.Plan {
	p := good()
	p.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "/a"}, {Name: "key-file-2", Path: "/b"}}
	p.Recipes = []plan.Recipe{{Name: "together", Ways: ways}}
	p.Volumes[0].Sources = []string{"together", "prompt"}
	return p
}

// TestRecipes: what may open a volume together.
func TestRecipes(t *testing.T) {
	sealed := func(p *plan.Plan) { p.Systemd.Sealed = []string{strings.Repeat("ab", 32)} }
	both := []string{"kms", "systemd-tpm2"}
	for _, row := range []struct {
		name   string
		ways   [][]string
		change func(*plan.Plan)
		want   string // "" is no error
	}{
		{"key server and TPM", [][]string{both}, nil, ""},
		{"all three", [][]string{{"key-file", "kms", "systemd-tpm2"}}, nil, ""},
		{"one of two sticks", [][]string{{"kms", "key-file"}, {"kms", "key-file-2"}}, nil, ""},
		{"two recipes", [][]string{both}, func(p *plan.Plan) {
			p.Recipes = append(p.Recipes, plan.Recipe{Name: "together-2", Ways: [][]string{{"kms", "key-file"}}})
			p.Volumes[0].Sources = []string{"together", "together-2"}
		}, ""},
		{"TPM and stick, the secret named", [][]string{{"systemd-tpm2", "key-file"}}, sealed, ""},
		{"TPM and stick, the volume pinned", [][]string{{"systemd-tpm2", "key-file"}}, func(p *plan.Plan) { p.Volumes[0].Digest = strings.Repeat("ab", 32) }, ""},

		{"TPM and stick of anybody", [][]string{{"systemd-tpm2", "key-file"}}, nil, "volumes[0]: systemd-tpm2 needs to know the volume"},
		{"no way", nil, nil, "together: 0 combinations of sources would open the volume, want 1 to 6"},
		{"seven ways", make([][]string, 7), nil, "7 combinations"},
		{"one alone", [][]string{{"kms"}}, nil, "kms alone would open the volume"},
		{"a person", [][]string{{"kms", "prompt"}}, nil, "prompt opens alone what it opens"},
		{"clevis", [][]string{{"kms", "clevis"}}, nil, "clevis opens alone"},
		{"itself", [][]string{{"kms", "together"}}, nil, "together opens alone"},
		{"two sticks at once", [][]string{{"key-file", "key-file-2"}}, nil, "two of the kind key-file would be needed at once"},
		{"the same twice", [][]string{both, {"systemd-tpm2", "kms"}}, nil, "systemd-tpm2 and kms stand together twice"},
		{"a stick that is not there", [][]string{{"kms", "key-file-3"}}, nil, `together: "key-file-3" is not known`},
		{"alone as well", [][]string{both}, func(p *plan.Plan) { p.Volumes[0].Sources = []string{"together", "kms"} }, "volumes[0]: sources: kms stands alone, and as a part"},
		{"another name", [][]string{both}, func(p *plan.Plan) { p.Recipes[0].Name = "both" }, `its name is "both"`},
		{"a name with a line end", [][]string{both}, func(p *plan.Plan) { p.Recipes[0].Name = "together-\n" }, "its name is"},
		{"a name twice", [][]string{both}, func(p *plan.Plan) { p.Recipes = append(p.Recipes, p.Recipes[0]) }, "two combinations have the name together"},
		{"nine recipes", [][]string{both}, func(p *plan.Plan) { p.Recipes = make([]plan.Recipe, 9) }, "there are 9 combinations of sources, the limit is 8"},
		{"locked to STATE of Talos", [][]string{both}, func(p *plan.Plan) {
			p.Volumes = append(p.Volumes, volume(dataUUID, "data"))
			p.Volumes[1].Sources, p.Volumes[1].LockedTo = []string{"together"}, "root"
		}, "volumes[1]: lock-to-state is of keys that Talos made"},
		{"no such recipe", [][]string{both}, func(p *plan.Plan) { p.Volumes[0].Sources = []string{"together-2"} }, `"together-2" is not known`},
		{"no key server is trusted", [][]string{both}, func(p *plan.Plan) { p.Trust.KMS = nil }, "trust.kms is empty"},
	} {
		p := recipes(row.ways...)
		if row.change != nil {
			row.change(p)
		}
		err := p.Check()
		if (row.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Check = %v, want %q", row.name, err, row.want)
		}
	}
}

// TestRecipeNeeds: a part needs what its source needs.
func TestRecipeNeeds(t *testing.T) {
	p := recipes([]string{"kms", "systemd-tpm2"}, []string{"kms", "key-file-2"})
	if !p.NeedsKMS() || !p.NeedsNetwork() || !plan.UsesTPM("together") || !p.AsksAtConsole() || !p.Uses(p.Volumes[0], "key-file-2") || p.Uses(p.Volumes[0], "key-file") {
		t.Errorf("%+v: its needs are told wrongly", p.Recipes)
	}
	if got := fmt.Sprint(p.Members("together"), p.Members("prompt"), p.WaysOf(p.Volumes[0])); got != "[kms systemd-tpm2 key-file-2] [prompt] [[kms systemd-tpm2] [kms key-file-2]]" {
		t.Errorf("members and ways = %s", got)
	}
	if p.SparesTPM() != true { // by the prompt
		t.Error("a person spares the TPM")
	}
	p.Volumes[0].Sources = []string{"together"}
	if p.SparesTPM() {
		t.Error("each way has the TPM in it")
	}
	if got := p.By(p.Volumes[0]); got != "kms+systemd-tpm2 or kms+key-file-2" {
		t.Errorf("By = %q", got)
	}
}

// TestPIN: a PIN is asked for before the passphrase that is asked for without
// end, and only if the plan says so.
func TestPIN(t *testing.T) {
	for _, row := range []struct {
		sources string
		pin     bool
		want    string // "" is no error
		asks    bool
	}{
		{"systemd-tpm2", true, "", true},
		{"systemd-tpm2", false, "", false},
		{"systemd-tpm2 kms prompt", true, "", true},
		{"prompt systemd-tpm2", true, "volumes[0]: sources: prompt asks at the console without end", true},
		{"prompt systemd-tpm2", false, "", false},
		{"kms prompt", true, "with pin: true list systemd-tpm2 before it", false},
		{"kms", true, "", false},
	} {
		p := good()
		p.Volumes[0].Sources = strings.Fields(row.sources)
		p.Systemd = plan.SystemdTPM2{Sealed: []string{strings.Repeat("ab", 32)}, PIN: row.pin}
		err := p.Check()
		if (row.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.want) || p.AsksForPIN() != row.asks {
			t.Errorf("%s, pin %t: Check = %v, want %q; AsksForPIN = %t", row.sources, row.pin, err, row.want, p.AsksForPIN())
		}
		if console := row.asks || strings.Contains(row.sources, "prompt"); p.AsksAtConsole() != console {
			t.Errorf("%s, pin %t: AsksAtConsole = %t", row.sources, row.pin, !console)
		}
	}
}

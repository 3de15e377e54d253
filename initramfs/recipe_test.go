package initramfs_test

import (
	"fmt"
	"strings"
	"testing"

	"latchkey/initramfs"
)

// TestRecipes: thresholds become the combinations that reach them.
func TestRecipes(t *testing.T) {
	const stick, other = "key-file: {device: LABEL=KEYS, path: a}", "key-file: {device: LABEL=KEYS, path: b}"
	named := "systemd-tpm2: {sealed: [" + strings.Repeat("AB", 32) + "]}"
	for _, row := range []struct{ sources, want, err string }{
		{"{need: 2, of: [kms, systemd-tpm2]}, prompt", "[together prompt] [[kms systemd-tpm2]]", ""},
		{"{need: 3, of: [kms, systemd-tpm2, " + stick + "]}", "[together] [[kms systemd-tpm2 key-file]]", ""},
		{"{need: 2, of: [kms, " + named + ", " + stick + "]}", "[together] [[kms systemd-tpm2] [kms key-file] [systemd-tpm2 key-file]]", ""},
		{"{need: 2, of: [kms, {need: 1, of: [systemd-tpm2, " + stick + "]}]}", "[together] [[kms systemd-tpm2] [kms key-file]]", ""},
		{"{need: 2, of: [kms, {need: 2, of: [systemd-tpm2, " + stick + "]}]}", "[together] [[kms systemd-tpm2 key-file]]", ""},
		{"{need: 2, of: [kms, {need: 1, of: [" + stick + ", " + other + "]}]}", "[together] [[kms key-file] [kms key-file-2]]", ""},
		{"{need: 1, of: [{need: 2, of: [kms, systemd-tpm2]}, {need: 3, of: [kms, systemd-tpm2, " + stick + "]}]}", "[together] [[kms systemd-tpm2]]", ""},
		{"{need: 2, of: [kms, systemd-tpm2]}, {need: 2, of: [kms, " + stick + "]}", "[together together-2] [[kms systemd-tpm2] [kms key-file]]", ""},

		{"{need: 1, of: [kms, systemd-tpm2]}", "", "kms alone would open the volume: list it beside the combination"},
		{"{need: 2, of: [kms, " + stick + ", " + other + "]}", "", "two of the kind key-file would be needed at once"},
		{"{need: 3, of: [kms, systemd-tpm2]}", "", "volumes[0].sources[0].need is 3, want 1 to 2"},
		{"{need: 0, of: [kms, systemd-tpm2]}", "", "need is 0, want 1 to 2"},
		{"{need: -1, of: [kms, systemd-tpm2]}", "", "need is -1"},
		{"{need: 2, of: [kms]}", "", "volumes[0].sources[0].of: there are 1 sources, want 2 to 8"},
		{"need: 2", "", "of: there are 0 sources"},
		{"{need: 2, of: [" + strings.Repeat("kms, ", 9) + "]}", "", "there are 9 sources, want 2 to 8"},
		{"{need: 2, of: [kms, prompt]}", "", "volumes[0].sources[0].of[1]: prompt opens alone what it opens and is no part: want kms, systemd-tpm2 or key-file"},
		{"{need: 2, of: [kms, clevis: {tang: []}]}", "", "clevis opens alone what it opens"},
		{"{need: 2, of: [kms, tpm]}", "", `"tpm" is no source`},
		{"{need: 2, of: [kms: {}, systemd-tpm2]}", "", "kms takes no settings: write - kms"},
		{"{need: 2, of: [kms, key-file]}", "", "key-file needs to know which file"},
		{"{need: 2, of: [kms, {}]}", "", "volumes[0].sources[0].of[1]: want one of kms"},
		{"{need: 2, of: [kms, {" + stick + ", " + named + "}]}", "", "of[1]: want one of kms"},
		{"{need: 2, of: [kms, {need: 1, of: [kms, {need: 2, of: [kms, kms]}]}]}", "", "need stands in a combination in a combination already"},
		{"{need: 2, of: [kms, {need: 4, of: [systemd-tpm2, " + stick + "]}]}", "", "of[1].need is 4"},
		{"{need: 2, of: [kms, {need: 1, of: [systemd-tpm2, {}]}]}", "", "of[1].of[1]: want one of kms"},
		{"{need: 2, of: [kms, {need: 2, of: [systemd-tpm2, " + stick + "], " + stick + "}]}", "", "of[1]: need and of stand alone"},
		{"{need: 2, of: [kms, systemd-tpm2], " + stick + "}", "", "volumes[0].sources[0]: want kms, push, prompt, or a mapping"},
		{"{need: 2, of: [systemd-tpm2, " + stick + "]}", "", "systemd-tpm2 needs to know the volume"},
		{"{need: 2, of: [kms, key-file: {device: LABEL=KEYS}]}", "", "key-file: size is missing"},
		{"kms, {need: 2, of: [kms, systemd-tpm2]}", "", "kms stands alone, and as a part"},
	} {
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(withSources(row.sources)))
		got := ""
		if err == nil {
			p, planErr := c.Plan()
			if err = planErr; err == nil {
				got = fmt.Sprint(p.Volumes[0].Sources, " ")
				for _, r := range p.Recipes {
					got += fmt.Sprint(r.Ways)
				}
				got = strings.ReplaceAll(got, "]][[", "] [")
			}
		}
		if row.err == "" && (err != nil || got != row.want) || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err) || !strings.HasPrefix(err.Error(), "latchkey.yaml:3: ")) {
			t.Errorf("sources [%s] = %s, %v, want %s%s", row.sources, got, err, row.want, row.err)
		}
	}
}

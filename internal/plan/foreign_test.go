package plan_test

import (
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// TestForeign: an image that knows its command line takes hints from no
// other, unless the plan allows it, and the difference is named.
func TestForeign(t *testing.T) {
	const image = "ro rd.latchkey.kms=http://kms1:7741 console=ttyS0"
	for _, row := range []struct {
		name, cmdline, image string
		addons               bool
		init                 string // that the plan has
		kms                  string
		want                 string // the problem, "" for none
	}{
		{"not a unified kernel image", "init=/bin/sh", "", false, "/bin/sh", "http://kms0:7741", ""},
		{"the image's own", image + "\n", image, false, "", "http://kms1:7741", ""},
		{"the image's own, other spaces", "ro  console=ttyS0 rd.latchkey.kms=http://kms1:7741", image, false, "", "http://kms1:7741", ""},
		{"an addon's word", image + " init=/bin/sh", image, false, "", "http://kms1:7741", `kernel command line: "init=/bin/sh" is not in this image, but of an addon, the boot loader or the firmware: not used (stub.addons`},
		{"an addon's word that the plan allows", image + " init=/bin/sh", image, true, "/bin/sh", "http://kms1:7741", `"init=/bin/sh" is not in this image, but of an addon, the boot loader or the firmware: used`},
		{"a word twice", image + " ro", image, false, "", "http://kms1:7741", `"ro" is not in this image`},
		{"another line", "init=/bin/sh", image, false, "", "http://kms1:7741", `; "ro rd.latchkey.kms=http://kms1:7741 console=ttyS0" of this image is missing: not used`},
		{"a word is missing", "ro console=ttyS0", image, false, "", "http://kms1:7741", `"rd.latchkey.kms=http://kms1:7741" of this image is missing: not used`},
		{"a terminal's escape", image + " x\x1b[2J", image, false, "", "http://kms1:7741", `\x1b[2J" is not in this image`},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := good()
			p.Find.URLs, p.Stub.Addons = []string{"http://kms0:7741"}, row.addons
			file, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, problems, err := plan.Parse(file, row.cmdline, row.image)
			if err != nil {
				t.Fatal(err)
			}
			again, err := plan.ParseAgain(file, row.cmdline, row.image)
			if err != nil || again.Root.Init != got.Root.Init {
				t.Errorf("ParseAgain has init %q, %v, want %q as Parse has", again.Root.Init, err, got.Root.Init)
			}

			if got.Root.Init != row.init || got.Find.URLs[0] != row.kms {
				t.Errorf("init %q, key server %s, want %q, %s", got.Root.Init, got.Find.URLs[0], row.init, row.kms)
			}
			var said []string
			for _, p := range problems {
				said = append(said, p.String())
			}
			if text := strings.Join(said, "\n"); !strings.Contains(text, row.want) || (text == "") != (row.want == "") {
				t.Errorf("problems %q, want %q", text, row.want)
			}
		})
	}
}

// TestAllows: names are systemd's, and nothing escapes the folder.
func TestAllows(t *testing.T) {
	stub := plan.Stub{Credentials: []string{"wireguard.key", "network.*"}}
	for name, want := range map[string]bool{
		"wireguard.key": true, "wireguard.key2": false, "network.": true, "network.wan": true, "networks": false, "": false,
		"network.../../x": false, "network.a:b": false, "network.a b": true, "network.\x1b": false, "network." + strings.Repeat("x", 250): false,
	} {
		if got := stub.Allows(name); got != want {
			t.Errorf("Allows(%q) = %v, want %v", name, got, want)
		}
	}
	all := plan.Stub{Credentials: []string{"*"}}
	if !all.Allows("anything") || all.Allows("..") || all.Allows(".") || (plan.Stub{}).Allows("anything") {
		t.Error("* allows every name, and no list allows none")
	}
}

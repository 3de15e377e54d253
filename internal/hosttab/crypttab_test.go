package hosttab_test

import (
	"strings"
	"testing"

	"latchkey/internal/hosttab"
)

// Each option of crypttab(5) is followed, named, or refused where it protects
// something that the boot would not.
func TestJudge(t *testing.T) {
	line := func(options string) string { return "root UUID=" + uuid + " none " + options + "\n" }
	plain := hosttab.Volume{UUID: uuid, Name: "root", Sources: []string{"kms"}}
	with := func(change func(*hosttab.Volume)) hosttab.Volume { v := plain; change(&v); return v }
	for _, tt := range []struct {
		name, crypttab string
		plan           hosttab.Volume
		wrong, note    string // "": none
	}{
		{"what is done", line("luks,x-initrd.attach,initramfs,_netdev,headless=true,tpm2-measure-pcr=yes,"), plain, "", ""},
		{"no options", "root UUID=" + uuid + "\n", plain, "", ""},
		{"dashes", "root UUID=" + uuid + " - -\n", plain, "", ""},
		{"discard", line("discard"), plain, "", "options: [discard]"},
		{"discard, planned", line("allow-discards"), with(func(v *hosttab.Volume) { v.Options = []string{"discard"} }), "", ""},
		{"read-only", line("luks,readonly"), plain, "options: [read-only]", ""},
		{"read-only, planned", line("read-only"), with(func(v *hosttab.Volume) { v.Options = []string{"read-only"} }), "", ""},
		{"a header", line("header=/etc/root.hdr"), plain, "header: {path: FILE}", ""},
		{"a header, planned", line("header=/etc/root.hdr"), with(func(v *hosttab.Volume) { v.Header = true }), "", ""},
		{"nofail", line("nofail"), plain, "", "nofail: true"},
		{"nofail, planned", line("nofail"), with(func(v *hosttab.Volume) { v.NoFail = true }), "", ""},
		{"TCRYPT", line("tcrypt-veracrypt"), plain, "LUKS only", ""},
		{"plain", line("plain,cipher=aes-xts-plain64"), plain, "LUKS only", "no effect"},
		{"a TPM token", line("tpm2-device=auto"), plain, "", "systemd-tpm2"},
		{"a TPM token, planned", line("tpm2-device=auto,tpm2-pin=yes"), with(func(v *hosttab.Volume) { v.Sources = []string{"systemd-tpm2"} }), "", ""},
		{"FIDO2", line("fido2-device=auto"), plain, "", "no effect"},
		{"waits", line("tries=3"), plain, "", `"tries=3"`},
		{"parts of a key file", line("keyfile-offset=4"), plain, "", `"keyfile-offset=4"`},
		{"a key file", "root UUID=" + uuid + " /etc/keys/root.key luks\n", plain, "", "sources: [key-file: {path: FILE}]"},
		{"a key file, planned", "root UUID=" + uuid + " /etc/keys/root.key luks\n", with(func(v *hosttab.Volume) { v.Sources = []string{"key-file-2"} }), "", ""},
		{"a misspelled option", line("discrad"), plain, "", `"discrad" of "root" is not known`},
		{"an option that writes to the terminal", line("a\x1b[2J"), plain, "", `"a\x1b[2J"`},
		{"options apart", "root UUID=" + uuid + " none luks, discard\n", plain, "", "options have no spaces"},
		{"swap with a random key", line("luks") + "swap /dev/vda3 /dev/urandom swap,cipher=aes-xts-plain64\n", plain, "", `"swap" gets a new key at each boot: left to the real root`},
		{"another volume", line("luks") + "home UUID=" + other + " none luks\n", plain, "", `"home" is left to the real root`},
		{"another volume of the initramfs", line("luks") + "var UUID=" + other + " none x-initrd.attach\n", plain, "", "add it to volumes"},
		{"another machine", "home UUID=" + other + " none x-initrd.attach,header=/x\n", plain, "", ""},
		{"a comment", "# root UUID=" + uuid + " none header=/x\n", plain, "", ""},
	} {
		got, err := host(t, tt.crypttab, "").Judge([]hosttab.Volume{tt.plan})
		wrong, notes := strings.Join(got.Wrong, "\n"), strings.Join(got.Notes, "\n")
		if err != nil || !strings.Contains(wrong, tt.wrong) || (wrong == "") != (tt.wrong == "") || !strings.Contains(notes, tt.note) || (notes == "") != (tt.note == "") {
			t.Errorf("%s: Judge = %q, %q, %v, want %q, %q", tt.name, wrong, notes, err, tt.wrong, tt.note)
		}
		if strings.Contains(wrong+notes, "\x1b") {
			t.Errorf("%s: what it says writes to a terminal: %q", tt.name, wrong+notes)
		}
	}
}

// Whatever is in the table, each line of it is judged or passed over.
func FuzzJudge(f *testing.F) {
	f.Add("root UUID=" + uuid + " none luks,discard,header=/x\nswap /dev/vda3 /dev/urandom swap\n")
	f.Add("x\ty\t-\t,,=,\n#")
	f.Fuzz(func(t *testing.T, crypttab string) {
		got, err := host(t, crypttab, "").Judge([]hosttab.Volume{{UUID: uuid, Name: "root"}})
		if err != nil {
			t.Errorf("Judge = %v", err)
		}
		for _, line := range append(got.Wrong, got.Notes...) {
			if strings.ContainsAny(line, "\n\x00\x1b") {
				t.Errorf("a line is %q", line)
			}
		}
	})
}

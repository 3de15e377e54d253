package plan_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
)

const rootUUID = "11111111-2222-3333-4444-555555555555"

func good() *plan.Plan {
	return &plan.Plan{
		Version: plan.Version,
		Trust:   plan.Trust{KMS: []plan.PublicKey{"lk1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
		Find:    plan.Find{URLs: []string{"http://kms.local"}},
		Volumes: []plan.Volume{{UUID: rootUUID, Name: "root", Sources: []string{"kms"}}},
		OnFail:  plan.OnFail{Action: "reboot", After: time.Minute},
		Wait:    180 * time.Second,
	}
}

func encode(t *testing.T, p *plan.Plan) []byte {
	t.Helper()
	file, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDecodeTakesOnlyWhatEncodeWrites(t *testing.T) {
	file := string(encode(t, good()))
	if _, err := plan.Decode([]byte(file)); err != nil {
		t.Fatalf("Decode of what Encode wrote: %v", err)
	}
	for _, tt := range []struct{ name, file string }{
		{"unknown field", strings.Replace(file, `{"version"`, `{"evil":1,"version"`, 1)},
		{"field twice", strings.Replace(file, `{"version":1`, `{"version":1,"version":1`, 1)},
		{"other case", strings.Replace(file, `"version"`, `"Version"`, 1)},
		{"trailing data", file + "{}"},
		{"white space", strings.Replace(file, ",", ", ", 1)},
		{"other version", strings.Replace(file, `"version":1`, `"version":2`, 1)},
		{"cut", file[:len(file)/2]},
		{"empty", ""},
		{"too large", file + strings.Repeat(" ", 1<<20)},
	} {
		if _, err := plan.Decode([]byte(tt.file)); !errors.Is(err, plan.ErrInvalid) {
			t.Errorf("%s: Decode = %v, want ErrInvalid", tt.name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Plan)
		want   string // "" is no error
	}{
		{"good", func(*plan.Plan) {}, ""},
		{"no trust", func(p *plan.Plan) { p.Trust.KMS = nil }, "trust.kms"},
		{"key without prefix", func(p *plan.Plan) { p.Trust.KMS[0] = "AAAA" }, "lk1:"},
		{"short key", func(p *plan.Plan) { p.Trust.KMS[0] = "lk1:AAAA" }, "32 bytes"},
		{"no volumes", func(p *plan.Plan) { p.Volumes = nil }, "volumes is empty"},
		{"upper-case uuid", func(p *plan.Plan) { p.Volumes[0].UUID = strings.ToUpper("abcdef00-0000-0000-0000-000000000000") }, "lower-case"},
		{"uuid with a path", func(p *plan.Plan) { p.Volumes[0].UUID = "../../../../../../../../../../../../x" }, "uuid is"},
		{"name with a slash", func(p *plan.Plan) { p.Volumes[0].Name = "a/b" }, "name is"},
		{"name control", func(p *plan.Plan) { p.Volumes[0].Name = "control" }, "name is"},
		{"name twice", func(p *plan.Plan) { p.Volumes = append(p.Volumes, p.Volumes[0]) }, "used twice"},
		{"seventeen volumes", func(p *plan.Plan) { p.Volumes = make([]plan.Volume, 17) }, "limit is 16"},
		{"unknown source", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"magic"} }, "magic"},
		{"no source", func(p *plan.Plan) { p.Volumes[0].Sources = nil }, "sources is empty"},
		{"unknown option", func(p *plan.Plan) { p.Volumes[0].Options = []string{"keyfile"} }, "keyfile"},
		{"short digest", func(p *plan.Plan) { p.Volumes[0].Digest = "abcd" }, "64 hex"},
		{"unknown action", func(p *plan.Plan) { p.OnFail.Action = "shell" }, "on-fail.action"},
		{"unknown file system", func(p *plan.Plan) { p.Root.FSType = "fuse" }, "root.fstype"},
		{"negative time", func(p *plan.Plan) { p.Wait = -1 }, "negative"},
		{"ek", func(p *plan.Plan) { p.TPM.EK = "rsa" }, "tpm.ek"},
	} {
		p := good()
		tt.change(p)
		err := p.Check()
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, plan.ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: Check = %v, want an ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
}

// TestHints is B2 of the threats: what the command line may refine, and
// what it may not touch.
func TestHints(t *testing.T) {
	for _, tt := range []struct {
		cmdline string
		problem string // "" is none
		changed func(*plan.Plan) bool
	}{
		{"root=/dev/mapper/other", "", func(p *plan.Plan) bool { return p.Root.Device == "/dev/mapper/other" }},
		{"root=UUID=x rw rootflags=noatime rootfstype=xfs", "", func(p *plan.Plan) bool {
			return p.Root == plan.Root{Device: "UUID=x", ReadWrite: true, Flags: "noatime", FSType: "xfs"}
		}},
		{"rw ro", "", func(p *plan.Plan) bool { return !p.Root.ReadWrite }},
		{"rootfstype=fuse", "want one of", nil},
		{"init=/bin/sh", "", func(p *plan.Plan) bool { return p.Root.Init == "/bin/sh" }},
		{"init=sh", "absolute", nil},
		{"rd.retry=5", "", func(p *plan.Plan) bool { return p.Wait == 5*time.Second }},
		{"rd.retry=soon", "whole number", nil},
		{"rd.latchkey.kms=rogue.local", "", func(p *plan.Plan) bool { return p.Find.URLs[0] == "http://rogue.local" }},
		{"rd.latchkey.kms=https://x", "needs no TLS", nil},
		{"rd.latchkey.kms=file:///etc/passwd", "want http://", nil},
		{"kcrypt.challenger.challenger_server=http://old.local", "", func(p *plan.Plan) bool { return p.Find.URLs[0] == "http://old.local" }},
		{"kcrypt.challenger.mdns=true", "", func(p *plan.Plan) bool { return p.Find.Services[0] == "_kcrypt._tcp" }},
		{"rd.latchkey.service=_x._tcp", "", func(p *plan.Plan) bool { return p.Find.Services[0] == "_x._tcp" }},
		{"rd.latchkey.service=x", "service type", nil},
		{"rd.latchkey.trust=lk1:BBBB", "trust and volumes come from the image", nil},
		{"rd.latchkey.pin=lk1:BBBB", "trust and volumes come from the image", nil},
		{"rd.luks=0", "opened all the same", nil},
		{"rd.luks.uuid=99999999-2222-3333-4444-555555555555", "not in the image's plan", nil},
		{"rd.luks.uuid=luks-" + rootUUID, "", nil},
		{"rd.luks.name=" + rootUUID + "=newroot", "", func(p *plan.Plan) bool { return p.Volumes[0].Name == "newroot" }},
		{"rd.luks.name=" + rootUUID + "=../x", "want <uuid>=<name>", nil},
		{"rd.luks.options=discard,keyfile-size=1", "keyfile-size=1", func(p *plan.Plan) bool { return p.Volumes[0].Options[0] == "discard" }},
		{"rd.luks.allow-discards", "", func(p *plan.Plan) bool { return p.Volumes[0].Options[0] == "discard" }},
		{"rd.luks.key=/x", "not there yet", nil},
		{"rd.shell", "no shell", nil},
		{"rd.shell=0", "", nil},
		{"rd.break=mount", "debug images", nil},
		{"rd.emergency=poweroff", "", func(p *plan.Plan) bool { return p.OnFail.Action == "poweroff" }},
		{"rd.emergency=shell", "want reboot", nil},
		{"resume=/dev/vda3", "not there yet", nil},
		{"rd.modules-load=a,b", "", func(p *plan.Plan) bool { return len(p.Modules.Always) == 2 }},
		{"module_blacklist=a", "", func(p *plan.Plan) bool { return len(p.Modules.Blocked) == 1 }},
		{"quiet splash console=ttyS0 systemd.unit=rescue.target", "", nil},
	} {
		p, problems, err := plan.Parse(encode(t, good()), tt.cmdline)
		if err != nil {
			t.Errorf("%s: %v", tt.cmdline, err)
			continue
		}

		text := ""
		for _, problem := range problems {
			text += problem.String()
		}
		if (tt.problem == "") != (text == "") || !strings.Contains(text, tt.problem) {
			t.Errorf("%s: problems %q, want %q", tt.cmdline, text, tt.problem)
		}

		if tt.changed != nil && !tt.changed(p) {
			t.Errorf("%s: plan is %+v", tt.cmdline, p)
		}
		if p.Trust.KMS[0] != good().Trust.KMS[0] || len(p.Trust.KMS) != 1 || len(p.Volumes) != 1 || p.Volumes[0].UUID != rootUUID || p.Volumes[0].Sources[0] != "kms" {
			t.Errorf("%s: the command line changed trust or volumes: %+v", tt.cmdline, p)
		}
	}
}

func TestSplitCmdline(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"words", "a b=c", "a|b=c"},
		{"white space", " a\t b \n", "a|b"},
		{"quotes in the value", `a="b c" d`, "a=b c|d"},
		{"quotes around all", `"a=b c"`, "a=b c"},
		{"empty value differs from none", "a= b", "a=|b"},
		{"init's own words", "a -- b", "a"},
		{"open quote", `a="b c`, "a=b c"},
		{"empty", "", ""},
	} {
		args, err := plan.SplitCmdline(tt.line)
		var got []string
		for _, a := range args {
			got = append(got, a.String())
		}
		if err != nil || strings.Join(got, "|") != tt.want {
			t.Errorf("%s: SplitCmdline(%q) = %q, %v, want %q", tt.name, tt.line, got, err, tt.want)
		}
	}
	if _, err := plan.SplitCmdline(strings.Repeat("x", 10000)); err == nil {
		t.Error("a command line of 10,000 bytes was taken")
	}
}

func FuzzParse(f *testing.F) {
	file, err := good().Encode()
	if err != nil {
		f.Fatal(err)
	}

	f.Add(string(file), "root=UUID=x rd.luks.name=a=b ip=dhcp")
	f.Add(string(file), `"a=b c" -- x`)
	f.Fuzz(func(t *testing.T, file, cmdline string) {
		p, problems, err := plan.Parse([]byte(file), cmdline)
		if err != nil {
			return
		}

		before, err := plan.Decode([]byte(file))
		if err != nil {
			t.Fatalf("Parse took what Decode refuses: %v", err)
		}

		if len(p.Trust.KMS) != len(before.Trust.KMS) || len(p.Volumes) != len(before.Volumes) {
			t.Errorf("%q changed trust or volumes", cmdline)
		}
		_ = p.String()
		for _, problem := range problems {
			_ = problem.String()
		}
	})
}

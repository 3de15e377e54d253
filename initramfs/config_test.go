package initramfs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"latchkey/initramfs"
	"latchkey/internal/plan"
)

// TestWrongConfig: whatever is wrong with a configuration, when it is read,
// judged as a plan or built, is said with its line, and a misspelled key with
// the one that was meant.
func TestWrongConfig(t *testing.T) {
	const uuid = "uuid: 11111111-2222-3333-4444-555555555555"
	trust := "trust: {kms: [\"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=\"]}\n"
	good := trust + "volumes:\n  - " + uuid + "\n"
	for _, row := range []struct{ name, text, want string }{
		{"misspelled, below", good + "    soruces: [kms]\n", `till.yaml:4: unknown key "soruces"; did you mean "sources"?`},
		{"misspelled, above", "volums: []\n", `till.yaml:1: unknown key "volums"; did you mean "volumes"?`},
		{"misspelled, of a source", good + "    sources:\n      - key-file: {devcie: LABEL=K}\n", `till.yaml:5: unknown key "devcie"; did you mean "device"?`},
		{"twice", good + trust, "till.yaml:4: trust is already set in line 1"},
		{"no YAML", good + "wait: [\n", "till.yaml:4: did not find expected node content"},
		{"a second document", good + "---\n", "till.yaml: there is a second document"},
		{"empty", "# nothing\n", "till.yaml: the file is empty"},
		{"not text", "\xff", "till.yaml:1: the byte 0xff is not of UTF-8: save it as UTF-8"},
		{"text", "shop\n", `till.yaml:1: the file: expected keys with values (key: value), found "shop"`},
		{"a kind", good + "    nofail: maybe\n", `till.yaml:4: volumes[0].nofail: "maybe" is not true or false`},
		{"a duration", good + "wait: 3\n", `till.yaml:4: wait: "3" is not a duration like 90s or 12h`},
		{"a list for a section", good + "find: [kms.local]\n", "till.yaml:4: find: expected keys with values (key: value), found a list"},
		{"image", good + "image:\n  initrd: boot/{version}\n", `till.yaml:5: image.initrd: "boot/{version}" is not an absolute path`},
		{"image, together", good + "image:\n  boot-key: /k\n", "till.yaml:5: image.boot-key and image.boot-cert go together"},
		{"no UUID", trust + "volumes:\n  - name: root\n    uuid: 5\n", `till.yaml:4: volumes[0]: uuid is "5"`},
		{"option", good + "    options:\n      - discrad\n", `till.yaml:4: volumes[0]: options: "discrad" is not known`},
		{"second volume", good + "  - {name: data, " + uuid + "}\n", "till.yaml:4: volumes[1]: uuid 11111111"},
		{"key", "volumes: [{" + uuid + "}]\ntrust:\n  kms:\n    - lk1:AA\n", "till.yaml:4: trust.kms[0]: "},
		{"what is missing", "volumes: [{" + uuid + "}]\n", "till.yaml: trust.kms is empty"},
		{"URL", good + "find:\n  services: []\n  urls: [ftp://x]\n", "till.yaml:6: find.urls[0] is "},
		{"negative", good + "wait: -1s\n", "till.yaml:4: wait is negative"},
		{"negative, after", good + "on-fail:\n  after: -1s\n", "till.yaml:5: on-fail.after is negative"},
		{"a wait in a wrong unit", good + "wait: 1ns\n", "till.yaml:4: wait is 1ns, want 1s or more; 0s is for ever"},
		{"a timeout in a wrong unit", good + "find:\n  timeout: 90ms\n", "till.yaml:5: find.timeout is 90ms, want 1s or more; 0s is for ever"},
		{"a second volume without a name", good + "  - uuid: 0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9\n", "till.yaml:4: volumes[1]: name is missing: what it is under /dev/mapper"},
		{"degraded", good + "degraded: soon\n", `till.yaml:4: degraded: "soon" is no time, want never or one such as 3s`},
		{"degraded, negative", good + "degraded: -1s\n", `till.yaml:4: degraded: "-1s" is no time`},
		{"degraded, long", good + "degraded: 2h\n", "till.yaml:4: degraded: want never"},
		{"net", good + "net: ip=dhpc\n", "till.yaml:4: net: "},
		{"net, misspelled", good + "net: ip=dhcp nameservr=192.0.2.1\n", `till.yaml:4: net: "nameservr" at byte 8 is no option of the network; did you mean "nameserver"?`},
		{"net, another's", good + "net: ip=dhcp quiet\n", `till.yaml:4: net: "quiet" at byte 8 is no option of the network`},
		{"net, the root", good + "net: root=/dev/sda\n", `till.yaml:4: net: "root" at byte 0 is no option of the network`},
		{"net, a shell", good + "net: rd.shell\n", `till.yaml:4: net: "rd.shell" at byte 0 is no option of the network`},
		{"net, a line", good + "net: |\n  ip=dhcp\n  vlan=x\n", "till.yaml:4: net: "},
		{"root", good + "root:\n  fstype: ntfs\n", `till.yaml:5: root.fstype is "ntfs"`},
		{"a key file", good + "    sources:\n      - kms\n      - key-file:\n          path: ../x\n", `till.yaml:7: key-file: path is "../x"`},
		{"the second key file", good + "    sources:\n      - key-file: {path: /x}\n      - key-file:\n          wait: -1s\n          path: /y\n", "till.yaml:7: key-file-2: wait is negative"},
		{"clevis", good + "    sources:\n      - clevis:\n          tang: [x]\n", `till.yaml:6: clevis: tang: "x" is not the thumbprint`},
		{"set", good + "modules:\n  set: all\n", `till.yaml:5: modules.set is "all"`},
		{"module", good + "modules:\n  add: [virtio_net, no_such]\n", "till.yaml:5: modules.add: the kernel in "},
		{"parameter", good + "modules:\n  parameters:\n    - virtio_net\n", `till.yaml:6: modules.parameters[0] "virtio_net": want MODULE.PARAM=VALUE`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := newTree(t).buildAs("till.yaml", row.text)
			if err == nil || !strings.HasPrefix(err.Error(), row.want) {
				t.Errorf("building: %v, want %s", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("building: %v, want one line", err)
			}
		})
	}
}

// What the plan refuses stays told from what cannot be read.
func TestWrongPlan(t *testing.T) {
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config+"wait: -1s\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Plan(); !errors.Is(err, plan.ErrInvalid) {
		t.Errorf("Plan = %v, want ErrInvalid", err)
	}
}

// TestDegraded: how long an array that lacks members is waited for.
func TestDegraded(t *testing.T) {
	for text, want := range map[string]time.Duration{"": plan.DefaultDegraded, "degraded: never\n": plan.NeverDegraded, "degraded: 0s\n": 0, "degraded: 90s\n": 90 * time.Second} {
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config+text))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := c.Plan(); err != nil || p.Degraded != want {
			t.Errorf("%q: Degraded = %v, %v, want %v", text, p.Degraded, err, want)
		}
	}
}

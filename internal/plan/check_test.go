package plan_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
)

const dataUUID = "22222222-2222-3333-4444-555555555555"

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Plan)
		want   string // "" is no error
	}{
		{"good", func(*plan.Plan) {}, ""},
		{"no trust", func(p *plan.Plan) { p.Trust.KMS = nil }, "trust.kms is empty"},
		{"no trust needed", func(p *plan.Plan) { p.Trust.KMS, p.Volumes[0].Sources = nil, []string{"prompt"} }, ""},
		{"key without prefix", func(p *plan.Plan) { p.Trust.KMS[0] = "AAAA" }, "trust.kms[0]: key \"AAAA\" does not begin with lk1:"},
		{"short key", func(p *plan.Plan) { p.Trust.KMS[0] = "lk1:AAAA" }, "32 bytes"},

		// faults/field.md P1: what the search refuses later, in the boot.
		{"url without scheme", func(p *plan.Plan) { p.Find.URLs = append(p.Find.URLs, "kms.example.com") }, `find.urls[1] is "kms.example.com": it must begin with http://`},
		{"url with a user", func(p *plan.Plan) { p.Find.URLs[0] = "http://user@kms.local" }, "find.urls[0]"},
		{"url with a port too many", func(p *plan.Plan) { p.Find.URLs[0] = "http://192.0.2.1:77410" }, `"77410" is not a port`},
		{"url with TLS", func(p *plan.Plan) { p.Find.URLs[0] = "https://kms.local" }, "needs no TLS"},
		{"service in capitals", func(p *plan.Plan) { p.Find.Services = []string{"_Latchkey._TCP"} }, "find.services[0]"},
		{"seventeen targets", func(p *plan.Plan) { p.Find.URLs = slices.Repeat(p.Find.URLs, 17) }, "find has 17"},
		{"nowhere to look", func(p *plan.Plan) { p.Find.URLs = nil }, "find names neither urls nor services"},

		{"no volumes", func(p *plan.Plan) { p.Volumes = nil }, "volumes is empty"},
		{"upper-case uuid", func(p *plan.Plan) { p.Volumes[0].UUID = strings.ToUpper("abcdef00-0000-0000-0000-000000000000") }, "lower-case"},
		{"uuid with a path", func(p *plan.Plan) { p.Volumes[0].UUID = "../../../../../../../../../../../../x" }, "uuid is"},
		{"name with a slash", func(p *plan.Plan) { p.Volumes[0].Name = "a/b" }, `volumes[0]: name: "a/b" cannot be the name of a mapping`},
		{"name that fits no record", func(p *plan.Plan) { p.Volumes[0].Name = strings.Repeat("a", 64) }, "1 to 63"},
		{"name twice", func(p *plan.Plan) { p.Volumes = append(p.Volumes, volume(dataUUID, "root")) }, "volumes[1]: name root is that of volumes[0]"},
		{"uuid twice", func(p *plan.Plan) { p.Volumes = append(p.Volumes, volume(rootUUID, "data")) }, "volumes[1]: uuid " + rootUUID},
		// faults/node.md M8: the key server refuses it at every try.
		{"uuid twice, with serials", func(p *plan.Plan) {
			p.Volumes = append(p.Volumes, volume(rootUUID, "data"))
			p.Volumes[0].Serial, p.Volumes[1].Serial = "A", "B"
		}, "is that of volumes[0], too"},
		{"seventeen volumes", func(p *plan.Plan) { p.Volumes = make([]plan.Volume, 17) }, "limit is 16"},
		{"unknown source", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"magic"} }, "magic"},
		{"source twice", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"kms", "kms"} }, "twice"},
		{"no source", func(p *plan.Plan) { p.Volumes[0].Sources = nil }, "sources is empty"},
		{"a push without the key server that it comes by", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"push", "prompt"} }, "push comes in the answers to kms, which is not listed"},
		{"key file that no volume could mean", func(p *plan.Plan) { p.KeyFiles = []plan.KeyFile{{Name: "kms", Path: "x"}} }, `its name is "kms"`},
		{"two key files of one name", func(p *plan.Plan) {
			p.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "x"}, {Name: "key-file", Path: "y"}}
		}, "two key files have the name key-file"},
		{"nine key files", func(p *plan.Plan) { p.KeyFiles = make([]plan.KeyFile, 9) }, "the limit is 8"},
		{"clevis without keys", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"clevis"} }, "clevis: tang and sealed are empty"},
		{"clevis with a URL for a key", func(p *plan.Plan) { p.Clevis.Tang = []string{"http://tang.local"} }, "is not the thumbprint of a key"},
		{"clevis with something else for a sealed secret", func(p *plan.Plan) { p.Clevis.Sealed = []string{strings.Repeat("A", 64)} }, "is not 64 hex digits"},
		{"clevis with too many sealed secrets", func(p *plan.Plan) { p.Clevis.Sealed = make([]string, 17) }, "sealed has 17 entries"},
		{"clevis with a CA that is no PEM", func(p *plan.Plan) {
			p.Clevis.Tang, p.Clevis.TLS.CA = []string{strings.Repeat("A", 27)}, []string{"/etc/ca.pem"}
		}, "clevis: ca: \"/etc/ca.pem\" is no certificate in PEM"},
		{"clevis with a large CA", func(p *plan.Plan) {
			p.Clevis.Tang, p.Clevis.TLS.CA = []string{strings.Repeat("A", 27)}, []string{"-----BEGIN CERTIFICATE-----\n" + strings.Repeat("A", 64<<10)}
		}, "has more than 65536 bytes"},
		{"clevis with a pin of another form", func(p *plan.Plan) {
			p.Clevis.Tang, p.Clevis.TLS.Pins = []string{strings.Repeat("A", 27)}, []string{strings.Repeat("A", 43) + "="}
		}, "is not sha256// and 44 letters"},
		{"clevis with a short pin", func(p *plan.Plan) {
			p.Clevis.Tang, p.Clevis.TLS.Pins = []string{strings.Repeat("A", 27)}, []string{"sha256//AAAA"}
		}, "is not sha256// and 44 letters"},
		{"clevis with nine CAs", func(p *plan.Plan) { p.Clevis.TLS.CA = make([]string, 9) }, "ca has 9 entries and pin 0, the limits are 8 and 16"},
		{"clevis with a CA and no tang", func(p *plan.Plan) { p.Clevis.TLS.Pins = []string{"sha256//" + strings.Repeat("A", 43) + "="} }, "ca and pin are for tang servers, and tang is empty"},
		{"clevis with every link off", func(p *plan.Plan) {
			p.Volumes[0].Sources, p.Clevis.Tang = []string{"clevis"}, []string{strings.Repeat("A", 27)}
			p.Net.IPs = []plan.IP{{Methods: []plan.Method{plan.Off}}}
		}, "every link is off"},
		{"systemd-tpm2 without anything that tells the volume", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"systemd-tpm2"} }, "volumes[0]: systemd-tpm2 needs to know the volume"},
		{"systemd-tpm2 with a token's policy for a name", func(p *plan.Plan) { p.Systemd.Sealed = []string{strings.Repeat("A", 64)} }, "is not 64 hex digits"},
		{"thirty-three sealed secrets", func(p *plan.Plan) { p.Systemd.Sealed = make([]string, 33) }, "sealed has 33 entries, the limit is 32"},
		{"a time for degraded arrays below never", func(p *plan.Plan) { p.Degraded = -2 }, "degraded: want never"},
		{"a long time for degraded arrays", func(p *plan.Plan) { p.Degraded = time.Hour + 1 }, "degraded: want never"},
		{"negative head start", func(p *plan.Plan) { p.HeadStart = -1 }, "head-start"},
		{"unknown option", func(p *plan.Plan) { p.Volumes[0].Options = []string{"keyfile"} }, "keyfile"},
		{"accept", func(p *plan.Plan) { p.Volumes[0].Accept = "all" }, "want strict or cryptsetup"},
		{"accept in another spelling", func(p *plan.Plan) { p.Volumes[0].Accept = "strict" }, "want strict or cryptsetup"},
		{"resume of no volume", func(p *plan.Plan) { p.Resume = "/dev/mapper/other" }, "resume is"},
		{"short digest", func(p *plan.Plan) { p.Volumes[0].Digest = "abcd" }, "64 hex"},
		{"serial with a line end", func(p *plan.Plan) { p.Volumes[0].Serial = "a\nb" }, "printable"},

		{"unknown action", func(p *plan.Plan) { p.OnFail.Action = "shell" }, "on-fail.action"},
		{"unknown file system", func(p *plan.Plan) { p.Root.FSType = "fuse" }, "root.fstype"},
		{"relative init", func(p *plan.Plan) { p.Root.Init = "sbin/init" }, "root.init"},
		{"init with a detour", func(p *plan.Plan) { p.Root.Init = "/../init" }, "root.init"},
		{"flags with a line end", func(p *plan.Plan) { p.Root.Flags = "ro\nx" }, "root.flags"},
		{"flags beyond a page", func(p *plan.Plan) { p.Root.Flags = strings.Repeat("x", 4096) }, "root.flags"},
		{"root that may be missing", func(p *plan.Plan) { p.Volumes[0].NoFail = true }, "volumes[0] is the root and has nofail"},
		{"rw on a volume that is read-only", func(p *plan.Plan) { p.Root.ReadWrite, p.Volumes[0].Options = true, []string{"read-only"} }, "has the option read-only"},
		{"negative time", func(p *plan.Plan) { p.Wait = -1 }, "negative"},
		{"negative timeout", func(p *plan.Plan) { p.Find.Timeout = -1 }, "negative"},
		{"ek", func(p *plan.Plan) { p.TPM.EK = "rsa" }, "tpm.ek"},
		{"credential with a path", func(p *plan.Plan) { p.Stub.Credentials = []string{"a/b"} }, "stub.credentials[0]"},
		{"credential with a star inside", func(p *plan.Plan) { p.Stub.Credentials = []string{"*", "a*b"} }, "stub.credentials[1]"},
		{"too many credentials", func(p *plan.Plan) { p.Stub.Credentials = make([]string, 257) }, "stub.credentials has 257"},
		{"module with a path", func(p *plan.Plan) { p.Modules.Always = []string{"../x"} }, "modules.add"},
		{"every link off", func(p *plan.Plan) { p.Net.IPs = []plan.IP{{Methods: []plan.Method{plan.Off}}} }, "every link is off"},
		{"every link off, and no key server", func(p *plan.Plan) {
			p.Net.IPs, p.Volumes[0].Sources = []plan.IP{{Methods: []plan.Method{plan.Off}}}, []string{"prompt"}
		}, ""},
	} {
		p := good()
		tt.change(p)
		err := p.Check()
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, plan.ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: Check = %v, want an ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
}

func volume(uuid, name string) plan.Volume {
	return plan.Volume{UUID: uuid, Name: name, Sources: []string{"kms"}}
}

// TestRootDevice is faults/field.md P7 and node.md M5: a root that can never
// be is refused where the image is built; one that selects inside the
// volumes is taken.
func TestRootDevice(t *testing.T) {
	for device, want := range map[string]string{ // "" is no error
		"": "", "/dev/mapper/root": "", "/dev/mapper/luks-" + rootUUID: "", "UUID=" + rootUUID: "", `LABEL="my root"`: "", "PARTUUID=1234-01": "",
		"PARTLABEL=root": "", "/dev/disk/by-uuid/x": "", "/dev/disk/by-label/x": "", "/dev/disk/by-partuuid/x": "", "/dev/disk/by-partlabel/x": "",
		"/dev/vda2": "", "/dev/nvme0n1p3": "", "/dev/mmcblk0p2": "",
		"/dev/mapper/debian--vg-root": "", "/dev/rhel/root": "", "/dev/ubuntu-vg/ubuntu-lv": "", "/dev/mapper/vg0-root": "",

		"/dev/mapper/other": "no volume has this name, only root", "/dev/mapper/debian--vg": "no volume has this name", "/dev/mapper/vg-root-real": "no volume has",
		"/dev/a/b/c": "no logical volume", "/dev/../sda": "no logical volume", "/dev/vg/": "no logical volume", "/dev/vg/..": "no logical volume", "/dev/block/8:1": "no logical volume",
		"/dev/md0": "", "/dev/md/root": "", "/dev/md127p1": "", "/dev/md/..": "no logical volume", "/dev/md/a/b": "no logical volume", "ZFS=rpool/ROOT/x": "ZFS", "zfs:rpool/ROOT/x": "ZFS", "zfs=x": "ZFS",
		"gpt-auto": "gpt-auto", "gpt-auto-force": "gpt-auto", "/dev/nfs": "over the network", "nfs:192.0.2.1:/x": "over the network", "live:/dev/sr0": "over the network",
		"dhcp": "over the network", "iscsi:192.0.2.1::::iqn.x": "over the network", "tmpfs": "over the network",
		"/dev/disk/by-id/ata-x-part2": "no udev makes this link", "/dev/disk/by-path/pci-x": "no udev", "/dev/disk/by-uuid/": "no udev",
		"/dev/dm-0": "numbers of mappings change", "/dev/ram0": "want the device", "/dev/": "want the device", "sda2": "want /dev/mapper",
		"8:1": "want /dev/mapper", "0801": "want /dev/mapper", "UUID=": "names nothing", "SERIAL=x": "SERIAL= is not known",
		"PARTUUID=x/PARTNROFF=1": "PARTNROFF", "/dev/mapper/a\nb": "printable", "/dev/" + strings.Repeat("x", 300): "at most 256",
	} {
		p := good()
		p.Root.Device = device
		err := p.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "root.device") || !strings.Contains(err.Error(), want)) {
			t.Errorf("root.device %q: Check = %v, want root.device with %q", device, err, want)
		}
	}
}

// TestLogicalRoot: the names of a logical volume, and a volume of the plan
// whose name only looks like one.
func TestLogicalRoot(t *testing.T) {
	for device, want := range map[string]string{
		"/dev/mapper/debian--vg-root": "debian-vg root", "/dev/rhel/root": "rhel root", "": "", "/dev/mapper/root": "", "/dev/mapper/my-data": "", "/dev/sda2": "",
		"/dev/mapper/luks-" + rootUUID: "", "UUID=a-b": "", "/dev/disk/by-uuid": "", "rhel/root": "",
	} {
		p := good()
		p.Volumes = append(p.Volumes, volume(dataUUID, "my-data"))
		group, name, ok := p.LogicalRoot(plan.Root{Device: device})
		if ok != (want != "") || ok && group+" "+name != want {
			t.Errorf("LogicalRoot of %q = %q, %q, %t, want %q", device, group, name, ok, want)
		}
	}
}

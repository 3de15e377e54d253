package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/plan"
)

// two is a plan with a second volume, whose UUID begins with another digit.
func two() *plan.Plan {
	p := good()
	p.Volumes = append(p.Volumes, volume(dataUUID, "data"))
	p.Modules.Always = []string{"dm_mod", "dm_crypt"}
	return p
}

// TestHints is B2 of the threats: what the command line may refine, and
// what it may not touch.
func TestHints(t *testing.T) {
	for _, tt := range []struct {
		cmdline string
		problem string // "" is none
		changed func(*plan.Plan) bool
	}{
		{"root=/dev/mapper/data", "", func(p *plan.Plan) bool { return p.Root.Device == "/dev/mapper/data" && p.ImageRoot.Device == "" }},
		{"root=UUID=x rw rootflags=noatime rootfstype=xfs", "", func(p *plan.Plan) bool {
			return p.Root == plan.Root{Device: "UUID=x", ReadWrite: true, Flags: "noatime", FSType: "xfs"} && p.ImageRoot == plan.Root{}
		}},
		{"root=block:/dev/vda2", "", func(p *plan.Plan) bool { return p.Root.Device == "/dev/vda2" }},
		{"rootfstype=auto", "", func(p *plan.Plan) bool { return p.Root.FSType == "" }},
		{"rw ro", "", func(p *plan.Plan) bool { return !p.Root.ReadWrite }},
		{"init=/bin/sh", "", func(p *plan.Plan) bool { return p.Root.Init == "/bin/sh" }},
		{"rd.retry=500s", "", func(p *plan.Plan) bool { return p.Wait == 500*time.Second }},
		{"rd.retry=0", "", func(p *plan.Plan) bool { return p.Wait == 0 }},
		{"rd.latchkey.kms=other.local", "", func(p *plan.Plan) bool { return p.Find.URLs[0] == "http://other.local" && len(p.Find.URLs) == 2 }},
		{"rd.latchkey.kms=kms.local", "", func(p *plan.Plan) bool { return len(p.Find.URLs) == 1 }},
		{"kcrypt.challenger.challenger_server=http://old.local", "", func(p *plan.Plan) bool { return p.Find.URLs[0] == "http://old.local" }},
		{"kcrypt.challenger.mdns=true", "", func(p *plan.Plan) bool { return slices.Contains(p.Find.Services, "_kcrypt._tcp") }},
		{"kcrypt.challenger.mdns=false", "", func(p *plan.Plan) bool { return len(p.Find.Services) == 0 }},
		{"kairos.config=kcrypt.challenger.mdns=true", "", func(p *plan.Plan) bool { return slices.Contains(p.Find.Services, "_kcrypt._tcp") }},
		{"kairos.config=install.auto=true", "", nil},
		{"rd.latchkey.service=_x._tcp", "", func(p *plan.Plan) bool { return slices.Contains(p.Find.Services, "_x._tcp") }},
		{"rd.latchkey.report=0", "", func(p *plan.Plan) bool { return p.Find.NoReport }},
		{"rd.luks.uuid=luks-" + rootUUID, "", nil},
		{"rd.luks.uuid=luks-1111 luks.uuid=keysource:2222", "", nil}, // faults/network.md section 4: prefixes
		{"rd.luks.name=" + rootUUID + "=newroot", "", func(p *plan.Plan) bool { return p.Volumes[0].Name == "newroot" }},
		{"rd.luks.name=1111=newroot", "", func(p *plan.Plan) bool { return p.Volumes[0].Name == "newroot" }},
		{"root=/dev/mapper/newroot rd.luks.name=1111=newroot", "", func(p *plan.Plan) bool { return p.Root.Device == "/dev/mapper/newroot" }},
		{"root=/dev/mapper/root rd.luks.name=2222=x", "", func(p *plan.Plan) bool { return p.Volumes[1].Name == "x" }},
		{"rd.luks.options=" + dataUUID + "=discard", "", func(p *plan.Plan) bool { return len(p.Volumes[0].Options) == 0 && p.Volumes[1].Options[0] == "discard" }},
		{"rd.luks.options=discard,discard rd.luks.allow-discards", "", func(p *plan.Plan) bool { return cmp.Equal(p.Volumes[0].Options, []string{"discard"}) }},
		{"rd.luks.options=tpm2-device=auto,discard", "no effect here: tpm2-device=auto", func(p *plan.Plan) bool { return p.Volumes[0].Options[0] == "discard" }},
		{"rd.luks.options=read-only", "read-only is the image's to say for a volume that the boot needs; not used for root, data", nil},
		{"rd.luks.allow-discards=2222", "", func(p *plan.Plan) bool { return len(p.Volumes[0].Options) == 0 && p.Volumes[1].Options[0] == "discard" }},
		{"rd.emergency=poweroff", "", func(p *plan.Plan) bool { return p.OnFail.Action == "poweroff" }},
		{"rd.modules-load=a,b rd.driver.pre=c", "", func(p *plan.Plan) bool { return len(p.Modules.Always) == 5 }}, // faults/network.md section 4
		{"module_blacklist=a blacklist=b,c modprobe.blacklist=d", "", func(p *plan.Plan) bool { return len(p.Modules.Blocked) == 4 }},
		{"quiet splash console=ttyS0 systemd.unit=rescue.target rd.udev.log_level=3 rd.md=0 rd.luks=1 net.ifnames=0 noresume rd.shell=0", "", nil},

		{"root=/dev/rhel/root rd.lvm.lv=rhel/root rd.lvm.lv=rhel/swap rd.lvm.lv=rhel/swap rd.lvm.vg=data", "", func(p *plan.Plan) bool {
			return p.Root.Device == "/dev/rhel/root" && p.ImageRoot.Device == "" && cmp.Equal(p.Logical, []string{"rhel/root", "rhel/swap", "data"})
		}},
		{"rd.md=0", "", func(p *plan.Plan) bool { return p.Arrays.Off && !p.Arrays.Wants(arrayUUID) }},
		{"rd.md=0 rd.md", "", func(p *plan.Plan) bool { return p.Arrays.Wants(arrayUUID) }},
		{"rd.md.uuid=0C4F3A52-9b0e4f8d-8e572a1f-6f1b9d10", "", func(p *plan.Plan) bool {
			return p.Arrays.Wants(arrayUUID) && !p.Arrays.Wants("1"+arrayUUID[1:])
		}},
		{"rd.md.uuid=1c4f3a52:9b0e4f8d:8e572a1f:6f1b9d10 rd.md.uuid=" + arrayUUID, "", func(p *plan.Plan) bool { return len(p.Arrays.UUIDs) == 2 && p.Arrays.Wants(arrayUUID) }},
		{"rd.md.uuid=" + arrayUUID + strings.Repeat(" rd.md.uuid="+arrayUUID, 64), "not used: there are too many of these", func(p *plan.Plan) bool { return len(p.Arrays.UUIDs) == 64 }},
		{"rd.lvm=0", "", func(p *plan.Plan) bool { return p.Root.NoLogical && !p.ImageRoot.NoLogical }},
		{"rd.multipath=0", "", func(p *plan.Plan) bool { return p.NoPaths }},
		{"rd.multipath=0 rd.multipath", "", func(p *plan.Plan) bool { return !p.NoPaths }},
		{"rd.lvm=0 rd.lvm=1", "", func(p *plan.Plan) bool { return !p.Root.NoLogical }},

		{"rd.latchkey.trust=lk1:BBBB", "trust and volumes come from the image", nil},
		{"rd.latchkey.pin=lk1:BBBB", "trust and volumes come from the image", nil},
		{"rd.luks=0", "opened all the same", nil},
		{"rd.luks.uuid=99999999-2222-3333-4444-555555555555", "no volume of the image's plan has this UUID", nil},
		{"rd.luks.allow-discards=9999", "no volume of the image's plan has this UUID", nil},
		{"rd.luks.options=9999=discard", "no volume of the image's plan has this UUID", nil},
		{"rd.luks.name=" + rootUUID, "want <uuid>=<name>", nil},
		{"rd.luks.key=/x", "the image's to say", nil},
		{"rd.luks.data=" + rootUUID + "=/dev/vda2", "where a payload is is the image's to say", nil},
		{"rd.luks.options=header=/x.hdr:LABEL=KEYS,discard", "where a header is is the image's to say", nil},
		{"rd.luks.timeout=5", "no effect", func(p *plan.Plan) bool { return p.Wait == 180*time.Second }},
		{"rd.shell", "no shell", nil},
		{"rd.break=mount", "debug images", nil},
		{"resume=/dev/vda3", "", func(p *plan.Plan) bool { return cmp.Equal(p.Resumes(), []string{"/dev/vda3"}) }},
		{"resume=UUID=x noresume", "", func(p *plan.Plan) bool { return p.Resumes() == nil }},
		{"resume=UUID=x hibernate=no", "", func(p *plan.Plan) bool { return p.Resumes() == nil }},
		{"resume=UUID=x hibernate=nocompress", "", func(p *plan.Plan) bool { return cmp.Equal(p.Resumes(), []string{"UUID=x"}) }},
		{"resume=/dev/mapper/other", "no volume has this name", func(p *plan.Plan) bool { return p.Resumes() == nil }},
		{"resume=8:3", "want /dev/mapper/NAME", func(p *plan.Plan) bool { return p.Resumes() == nil }},
		{"resume=", "names no device", nil},
	} {
		p, text := hinted(t, two(), tt.cmdline)
		if (tt.problem == "") != (text == "") || !strings.Contains(text, tt.problem) {
			t.Errorf("%s: problems %q, want %q", tt.cmdline, text, tt.problem)
		}
		if tt.changed != nil && !tt.changed(p) {
			t.Errorf("%s: plan is %+v", tt.cmdline, p)
		}
		if diff := cmp.Diff(two().Trust, p.Trust); diff != "" || len(p.Volumes) != 2 || p.Volumes[0].UUID != rootUUID || p.Volumes[0].Sources[0] != "kms" {
			t.Errorf("%s: the command line changed trust or volumes: %+v", tt.cmdline, p)
		}
	}
}

// hinted is a plan after a command line, with the problems as one text.
func hinted(t testing.TB, p *plan.Plan, cmdline string) (*plan.Plan, string) {
	t.Helper()
	file, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	p, problems, err := plan.Parse(file, cmdline, "")
	if err != nil {
		t.Fatalf("%s: %v", cmdline, err)
	}
	text := ""
	for _, problem := range problems {
		text += problem.String() + "\n"
	}
	return p, text
}

// TestHintsUndone is faults/field.md P1: a hint that would leave a plan no
// boot can use is undone and named, and the image's plan stands.
func TestHintsUndone(t *testing.T) {
	for _, tt := range []struct{ name, hint, says string }{
		{"port beyond all", "rd.latchkey.kms=http://192.0.2.1:77410", "is not a port"},
		{"user in a URL", "rd.latchkey.kms=user@kms.local", "'@' is not allowed"},
		{"query in a URL", "kcrypt.challenger.challenger_server=http://kms.local?x=1", "'?' is not allowed"},
		{"TLS", "rd.latchkey.kms=https://x", "needs no TLS"},
		{"no URL", "rd.latchkey.kms=file:///etc/passwd", "want http://"},
		{"empty", "rd.latchkey.kms=", "want http://"},
		{"through Kairos' option", "kairos.config=kcrypt.challenger.challenger_server=http://a@b", "'@' is not allowed"},
		{"service in capitals", "rd.latchkey.service=_Latchkey._TCP", "lower case"},
		{"no service", "rd.latchkey.service=x", "service type"},
		{"report", "rd.latchkey.report=perhaps", "neither 1 nor 0"},
		{"two volumes of one name", "rd.luks.name=" + rootUUID + "=data", "name data is that of volumes"},
		{"path for a name", "rd.luks.name=" + rootUUID + "=../x", "name of a mapping"},
		{"name of 64 bytes", "rd.luks.name=" + rootUUID + "=" + strings.Repeat("a", 64), "1 to 63"},
		{"ambiguous", "rd.luks.name==x", "no volume"},
		{"file system that no init knows", "rootfstype=fuse", "want one of"},
		{"relative init", "init=sh", "absolute"},
		{"empty init", "init=", "names no program"},
		{"empty root", "root=", "root.device"},
		{"mapping that is none", "root=/dev/mapper/debian--vg", "no volume has this name"}, // P7 and node.md M5
		{"group for a logical volume", "rd.lvm.lv=rhel", "want rd.lvm.vg=GROUP or rd.lvm.lv=GROUP/VOLUME"},
		{"logical volume for a group", "rd.lvm.vg=rhel/root", "want rd.lvm.vg=GROUP"},
		{"logical volume with a path", "rd.lvm.lv=../root", "want rd.lvm.vg=GROUP"},
		{"logical volume beyond it", "rd.lvm.lv=rhel/../root", "want rd.lvm.vg=GROUP"},
		{"group without a name", "rd.lvm.vg=", "want rd.lvm.vg=GROUP"},
		{"perhaps LVM", "rd.lvm=perhaps", "neither 1 nor 0"},
		{"array that is none", "rd.md.uuid=x", "want the array's UUID, 32 hexadecimal digits"},
		{"perhaps multipath", "rd.multipath=perhaps", "neither 1 nor 0"},
		{"multipath's own configuration", "rd.multipath=default", "recognized without a configuration"},
		{"multipath's other options", "rd.multipath.x=1", "of multipath's options, rd.multipath=0 is read here"},
		{"perhaps md", "rd.md=perhaps", "neither 1 nor 0"},
		{"md's other options", "rd.md.imsm=1", "of md's options, rd.md=0 and rd.md.uuid= are read here"},
		{"ZFS", "root=ZFS=rpool/ROOT/x", "ZFS"},
		{"gpt-auto", "root=gpt-auto", "gpt-auto is not there yet"},
		{"by-id", "root=/dev/disk/by-id/x", "no udev"},
		{"shorter wait for devices", "rd.retry=5", "can only make that longer"},
		{"any wait for a key server", "rd.latchkey.timeout=60", "the image waits for ever"},
		{"no time", "rd.retry=soon", "whole number"},
		{"what opens the volumes", "rd.driver.blacklist=dm-crypt", "loaded all the same"},
		{"what opens the volumes, refused by the kernel", "module_blacklist=dm-crypt", "remove this option"},
		{"no module", "rd.modules_load=../x", "not the name of a module"},
		{"shell", "rd.emergency=shell", "want reboot"},
		{"every link off", "ip=off", "every link is off"},
		{"every link off, at length", "ip=off rd.neednet=1", "every link is off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, text := hinted(t, two(), tt.hint)
			if !strings.Contains(text, tt.says) {
				t.Errorf("%s: problems are %q, want one with %q", tt.hint, text, tt.says)
			}
			want, _ := hinted(t, two(), "")
			if diff := cmp.Diff(want, got, cmpAddr); diff != "" {
				t.Errorf("%s changed the plan (-want +got):\n%s", tt.hint, diff)
			}
		})
	}
}

// TestHintsManyTargets: more than the search takes are undone one by one.
func TestHintsManyTargets(t *testing.T) {
	var line []string
	for _, c := range "abcdefghijklmnopqrst" {
		line = append(line, "rd.latchkey.kms="+string(c)+".local")
	}
	p, text := hinted(t, two(), strings.Join(line, " "))
	if len(p.Find.URLs) != 16 || strings.Count(text, "the limit is 16") != 5 {
		t.Errorf("%d URLs and %q, want 16 and five problems", len(p.Find.URLs), text)
	}
}

const arrayUUID = "0c4f3a52:9b0e4f8d:8e572a1f:6f1b9d10"

// TestHintsNamed is faults/network.md section 4 and node.md M5: an option
// that people know and that nothing acts on is named, not passed over.
func TestHintsNamed(t *testing.T) {
	for _, o := range []string{
		"rd.lvm.conf=0x", "rd.lvm.snapshot=x", "rd.md.uuid=x", "rd.md.waitclean=1", "md=0,/dev/sda", "rd.dm.uuid=x", "rd.multipath=default", "rd.auto", "rd.live.overlay=x",
		"systemd.volatile=overlay", "rd.luks.key.tout=5", "netroot=iscsi:x", "nfsroot=x", "rootfallback=LABEL=x", "rd.live.image", "rd.iscsi.initiator=x", "rd.nvmf.hostnqn=x",
		"rd.ethtool=eth0:on", "rd.znet=qeth,0.0.0800", "rd.znet_ifname=x:y", "ib.pkey=ib0.8004", "net.ifname-policy=keep", "net.ifname_policy=mac", "net.naming-scheme=v247",
		"rd.overlay", "roothash=x", "usrhash=x", "systemd.verity_root_data=x", "cryptdevice=UUID=x:root", "cryptkey=x", "cryptopts=target=x", "cryptroot=UUID=x", "cryptdm=root",
		"rd.timeout=5", "zfs=x", "lvmwait=x", "break=mount", "rd.luks.serial=x", "rd.luks.try-empty-password", "rd.zfcp=x", "rd.dasd=x", "rd.nonsense.luks=1 rd.luks.nonsense=1",
	} {
		if _, text := hinted(t, two(), o); text == "" {
			t.Errorf("%s: no problem, want it to be named", o)
		}
	}
}

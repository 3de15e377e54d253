package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/golden"
	"latchkey/internal/plan"
)

// TestDescribe is faults/field.md P18: what plan show says of a boot, as a
// golden file for each kind of plan. A line that changes is read there.
func TestDescribe(t *testing.T) {
	for _, row := range []struct {
		name    string
		change  func(*plan.Plan)
		cmdline string
	}{
		{"plain", func(*plan.Plan) {}, "quiet"},
		{"everything", func(p *plan.Plan) {
			p.Volumes[0].Options, p.Volumes[0].Sources = []string{"discard"}, []string{"kms", "prompt"}
			data := volume(dataUUID, "data")
			data.Serial, data.NoFail, data.LUKS1, data.Digest = "WD-1", true, true, strings.Repeat("ab", 32)
			p.Volumes = append(p.Volumes, data)
			p.Find.Timeout, p.Find.NoReport, p.TPM.EK = 10*time.Minute, true, "rsa2048"
			p.Find.URLs = append(p.Find.URLs, "http://192.0.2.5:7741", "http://kms.example.org")
			p.Root = plan.Root{FSType: "ext4"}
			p.Modules.Always = []string{"dm_crypt"}
			p.Multipath = []plan.Multipath{{WWID: "36001405c0ffee0000000000000000001", Name: "mpatha"}}
			p.Stub = plan.Stub{Credentials: []string{"wireguard.key", "network.*"}, Addons: true}
		}, "BOOT_IMAGE=/vmlinuz root=/dev/mapper/root rw rootflags=noatime,data=ordered init=/bin/other " +
			"vlan=shop.5:bond0 bond=bond0:eth0,eth1:mode=802.3ad,miimon=100:9000 bridge=br0:eth3 ifname=shop0:52:54:00:12:34:56 " +
			"ip=192.0.2.2::192.0.2.1:24:till:shop.5:none:192.0.2.53::192.0.2.123 ip=eth3:either6:1400 ip=dhcp nameserver=192.0.2.54 rd.peerdns=0 " +
			"rd.route=198.51.100.0/24:192.0.2.9:shop.5 bootdev=shop.5 BOOTIF=01-52-54-00-12-34-57 rd.net.timeout.carrier=30 rd.latchkey.keepnet=1 " +
			"rd.luks.name=" + dataUUID + "=things rd.retry=0 rd.emergency=halt rd.driver.blacklist=nouveau " +
			"rd.lvm.lv=rhel/root resume=/dev/sda3 systemd.unit=rescue.target -- single"},
		{"prompt-first", func(p *plan.Plan) {
			p.NoPaths = true
			p.Volumes[0].Sources = []string{"prompt", "kms"}
			data := volume(dataUUID, "data")
			data.Sources = []string{"kms", "prompt"}
			p.Volumes = append(p.Volumes, data)
			p.OnFail.Action, p.Debug = "wait", true
		}, "ip=eth0:off ip=eth1:dhcp:1400 ip6=eth1:off"},
		{"key-files", func(p *plan.Plan) {
			p.HeadStart, p.Degraded = plan.DefaultHeadStart, plan.DefaultDegraded
			p.KeyFiles = []plan.KeyFile{
				{Name: "key-file", Device: "LABEL=KEYS", Path: "shop.key"}, {Name: "key-file-2", Path: "/etc/latchkey/data.key"}, {Name: "key-file-3", Device: "PARTUUID=1234-01", Size: 64, Wait: time.Minute},
			}
			p.Volumes[0].Sources = []string{"kms", "key-file", "prompt"}
			data := volume(dataUUID, "data")
			data.Sources = []string{"key-file-2", "key-file-3"}
			p.Volumes = append(p.Volumes, data)
		}, ""},
		{"clevis", func(p *plan.Plan) {
			p.HeadStart, p.Trust.KMS, p.Find = plan.DefaultHeadStart, nil, plan.Find{}
			p.Clevis = plan.Clevis{Tang: []string{strings.Repeat("A", 43)}, Wait: time.Minute}
			p.Volumes[0].Sources = []string{"clevis", "prompt"}
		}, "ip=eth0:dhcp"},
		{"clevis-sealed", func(p *plan.Plan) {
			p.HeadStart, p.Trust.KMS, p.Find = plan.DefaultHeadStart, nil, plan.Find{}
			p.Clevis = plan.Clevis{Sealed: []string{strings.Repeat("0a", 32)}}
			p.Volumes[0].Sources = []string{"clevis"}
		}, ""},
		{"systemd-tpm2", func(p *plan.Plan) {
			p.HeadStart, p.Trust.KMS, p.Find = plan.DefaultHeadStart, nil, plan.Find{}
			p.Systemd.Sealed = []string{strings.Repeat("ab", 32)}
			p.Volumes[0].Sources = []string{"systemd-tpm2", "prompt"}
		}, ""},
		{"pin", func(p *plan.Plan) {
			p.HeadStart, p.Trust.KMS, p.Find = plan.DefaultHeadStart, nil, plan.Find{}
			p.Systemd = plan.SystemdTPM2{Sealed: []string{strings.Repeat("ab", 32)}, PIN: true}
			p.Volumes[0].Sources = []string{"systemd-tpm2", "prompt"}
		}, ""},
		{"together", func(p *plan.Plan) {
			p.HeadStart = plan.DefaultHeadStart
			p.KeyFiles = []plan.KeyFile{{Name: "key-file", Device: "LABEL=KEYS", Path: "shop.key"}}
			p.Systemd.Sealed = []string{strings.Repeat("ab", 32)}
			p.Recipes = []plan.Recipe{{Name: "together", Ways: [][]string{{"kms", "systemd-tpm2"}}}, {Name: "together-2", Ways: [][]string{{"kms", "systemd-tpm2"}, {"kms", "key-file"}, {"systemd-tpm2", "key-file"}}}}
			p.Volumes[0].Sources = []string{"together", "prompt"}
			data := volume(dataUUID, "data")
			data.Sources = []string{"together-2"}
			p.Volumes = append(p.Volumes, data)
		}, ""},
		{"talos", func(p *plan.Plan) {
			p.HeadStart, p.Trust.KMS, p.Find = plan.DefaultHeadStart, nil, plan.Find{}
			p.Talos = plan.Talos{KMS: []string{"http://192.0.2.8:4050", "https://kms.example:443"}, Sealed: []string{strings.Repeat("ab", 32)}, Node: rootUUID, Wait: time.Minute, TLS: plan.TLS{Pins: []string{"sha256//" + strings.Repeat("A", 43) + "="}}}
			data := volume(dataUUID, "data")
			data.Sources, data.Talos, data.LockedTo, data.Digest = []string{"talos-node-id"}, "EPHEMERAL", "root", strings.Repeat("00", 32)
			p.Volumes = []plan.Volume{p.Volumes[0], data}
			p.Volumes[0].Sources = []string{"talos-tpm2", "talos-kms", "prompt"}
		}, ""},
		{"kairos", func(p *plan.Plan) {
			p.HeadStart, p.Trust.KMS, p.Find = plan.DefaultHeadStart, nil, plan.Find{}
			p.Kairos = plan.Kairos{Server: "https://kms.local", MDNS: true, TLS: plan.TLS{Pins: []string{"sha256//" + strings.Repeat("A", 43) + "="}}}
			p.Volumes[0].Sources, p.Volumes[0].Label = []string{"kairos", "prompt"}, "COS_PERSISTENT"
		}, ""},
		{"kairos-any", func(p *plan.Plan) {
			p.HeadStart, p.Trust.KMS, p.Find = plan.DefaultHeadStart, nil, plan.Find{}
			p.Kairos = plan.Kairos{Server: "http://192.0.2.5:7741", Legacy: true, AnyServer: true}
			p.Volumes[0].Sources = []string{"kairos"}
		}, ""},
		{"kairos-tpm", func(p *plan.Plan) {
			p.HeadStart, p.Trust.KMS, p.Find = plan.DefaultHeadStart, nil, plan.Find{}
			p.Kairos = plan.Kairos{NVIndex: 0x1500000}
			p.Volumes[0].Sources = []string{"kairos"}
		}, ""},
		{"push", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"kms", "push", "prompt"} }, ""},
		{"prompt-only", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"prompt"} }, "ip=dhcp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := good()
			row.change(p)
			file, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			parsed, problems, err := plan.Parse(file, row.cmdline, "")
			if err != nil {
				t.Fatal(err)
			}

			var b strings.Builder
			for _, s := range plan.Describe(parsed) {
				fmt.Fprintf(&b, "%s\n  %s\n", s.Title, strings.Join(s.Lines, "\n  "))
			}
			for _, word := range plan.Unread(row.cmdline) {
				fmt.Fprintf(&b, "unread %s\n", word)
			}
			for _, problem := range problems {
				fmt.Fprintf(&b, "%s\n", problem)
			}
			golden.Check(t, "describe/"+row.name, b.String())
		})
	}
}

// TestUnread: each word of a command line is acted on, named as a Problem,
// or unread; none is lost.
func TestUnread(t *testing.T) {
	const line = `quiet root=UUID=x ip=dhcp rd.peerdns=0 kairos.config=install.auto=1 kairos.config=kcrypt.challenger.mdns=1 rd.shell=0 foo.bar="a b" -- single`
	want := []string{"quiet", "kairos.config=install.auto=1", "foo.bar=a b"}
	if diff := cmp.Diff(want, plan.Unread(line)); diff != "" {
		t.Errorf("Unread (-want +got):\n%s", diff)
	}
	if got := plan.Unread(strings.Repeat("x", 10000)); got != nil {
		t.Errorf("Unread of a line that is too long = %v, want none: it is a Problem", got)
	}
}

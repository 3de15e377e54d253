package plan_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"latchkey/boot/wire"
	"latchkey/discover"
	"latchkey/internal/plan"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
)

// accepted asks of an accepted plan what the boot asks of it later.
func accepted(t testing.TB, p *plan.Plan) {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Errorf("Check = %v of a plan that was accepted: %s", err, p)
	}
	if _, err := discover.NewFinder(discover.Query{URLs: p.Find.URLs, Services: p.Find.Services}, discover.System{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("the search refuses an accepted plan: %v", err)
	}

	for _, v := range p.Volumes {
		segment := luks2.Segment{Cipher: luks2.Cipher, OffsetBytes: 16 << 20, SizeBytes: 1 << 20, SectorBytes: 512}
		key := dm.KeyRef{Type: "LUKS2", UUID: v.UUID, SizeBytes: 64}
		if _, err := dm.Table(dm.Target{Name: v.Name, Device: "/dev/x", Segment: segment}, key, dm.Number{Major: 8, Minor: 1}); err != nil {
			t.Errorf("device-mapper refuses volume %q (%s) of an accepted plan: %v", v.Name, v.UUID, err)
		}
		sent := wire.Record{Kind: wire.KindRoot, Name: v.Name, Text: p.Root.FSType}
		raw := sent.Encode()
		if got, err := wire.Decode(raw[:]); err != nil || got.Name != v.Name || got.Text != p.Root.FSType {
			t.Errorf("a record carries volume %q as %q, %v", v.Name, got.Name, err)
		}
	}

	if err := p.Net.Check(); err != nil {
		t.Errorf("the network of an accepted plan: %v", err)
	}
	if text := p.String(); strings.ContainsAny(text, "\n\x00") {
		t.Errorf("String = %q, want one line", text)
	}
}

func TestAccepted(t *testing.T) {
	for _, line := range []string{
		"", "rd.latchkey.kms=http://[fe80::1%25eth0] rd.latchkey.kms=192.0.2.5:1", "rd.luks.name=1111=" + strings.Repeat("a", 63),
		"ip=192.0.2.5::192.0.2.1:24:node:eth0:none:192.0.2.53 rd.latchkey.service=_x._tcp", "root=UUID=x rootfstype=btrfs rootflags=subvol=@",
	} {
		p, text := hinted(t, two(), line)
		if text != "" {
			t.Errorf("%s: problems %q, want none", line, text)
		}
		accepted(t, p)
	}
}

// FuzzHints: whatever stands on the command line, the plan stays one that
// the boot can use, with the image's trust and volumes, and each problem is
// one line.
func FuzzHints(f *testing.F) {
	file, err := two().Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range []string{
		"root=UUID=x rd.luks.name=1111=a rd.luks.name=2222=a ip=dhcp rd.latchkey.kms=http://a@b", `"a=b c" -- x`, "ip=off ip6=off rd.retry=1",
		"rd.luks.options=2222=discard,x module_blacklist=dm_crypt,x init=/../x rootflags=a,b rootfstype=xfs root=/dev/mapper/luks-" + rootUUID,
		"bond=b:eth0:mode=9 vlan=b.5:b bridge=x: ip=b.5:dhcp kairos.config=kcrypt.challenger.challenger_server=x rd.latchkey.service=_a._tcp",
	} {
		f.Add(line)
	}

	f.Fuzz(func(t *testing.T, line string) {
		p, problems, err := plan.Parse(file, line, "")
		if err != nil {
			t.Fatalf("Parse(%q) = %v, want no error: the file is good", line, err)
		}
		accepted(t, p)
		if len(p.Trust.KMS) != 1 || len(p.Volumes) != 2 || p.Volumes[0].UUID != rootUUID || p.Volumes[1].UUID != dataUUID || p.Wait != 0 && p.Wait < good().Wait {
			t.Errorf("%q changed trust, volumes or waits: %s", line, p)
		}
		for _, problem := range problems {
			if problem.Reason == "" || strings.ContainsAny(problem.String(), "\n\x00") {
				t.Errorf("%q: problem %q is not one line", line, problem)
			}
		}
		again, err := plan.ParseAgain(file, line, "")
		if err != nil || again.String() != p.String() {
			t.Errorf("ParseAgain(%q) = %v, %v, which differs from Parse's %v", line, again, err, p)
		}
	})
}

// FuzzParse: a file that Decode takes is what Encode writes.
func FuzzParse(f *testing.F) {
	file, err := good().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := plan.Decode(file)
		if err != nil {
			return
		}
		accepted(t, p)
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, file) {
			t.Errorf("Decode took %q, which is written as %q, %v", file, again, err)
		}
	})
}

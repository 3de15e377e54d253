package uki_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/initramfs/uki"
	"latchkey/internal/testlan"
)

// A newer is Debian's next release, as images/interop-root unpacked it: its
// systemd has ukify and a stub that knows more sections.
type newer string

func interop(t *testing.T) newer {
	t.Helper()
	root := testlan.DebianRoot(t)
	return newer(root)
}

func (n newer) stub(t *testing.T) *uki.Stub {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(string(n), stubFile))
	if err != nil {
		t.Fatal(err)
	}
	s, err := uki.ReadStub(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a program of that Debian, which finds the files in its /tmp. No
// file of it is changed.
func (n newer) run(t *testing.T, files map[string][]byte, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	const script = `mount -t tmpfs tmpfs "$1/tmp"; cp "$2"/* "$1/tmp"; r=$1; shift 2; exec chroot "$r" "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-ec", script, "sh", string(n), dir}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// allParts are parts and every optional section.
func allParts(t *testing.T, s *uki.Stub) []uki.Section {
	t.Helper()
	sbat, err := s.SBAT([]byte("sbat,1,ignored,sbat,1,x\nshop,3,Shop,shop-image,7,https://shop.example/\n"))
	if err != nil {
		t.Fatal(err)
	}
	return append(parts(), sbat,
		uki.Section{Name: ".uname", Data: []byte("6.12.9")},
		uki.Section{Name: ".ucode", Data: []byte("070701 of a file kernel/x86/microcode/GenuineIntel.bin")},
		uki.Section{Name: ".dtb", Data: []byte("\xd0\x0d\xfe\xed and a tree")},
		uki.Section{Name: ".pcrpkey", Data: signer(t).PublicKey()})
}

// TestUkifyInspect: ukify reads each section out of our file, with the bytes
// that we put in.
//
// compatible: Boot | ukify (Debian 13) | reads our unified kernel images
func TestUkifyInspect(t *testing.T) {
	n := interop(t)
	s := n.stub(t)
	sections := append(allParts(t, s), uki.Section{Name: ".pcrsig", Data: []byte("{}")})
	image, err := s.Build(sections)
	if err != nil {
		t.Fatal(err)
	}

	out := n.run(t, map[string][]byte{"uki.efi": image}, "ukify", "inspect", "/tmp/uki.efi", "--json=short")
	var seen map[string]struct {
		Size   int
		SHA256 string
	}
	if err := json.Unmarshal([]byte(out), &seen); err != nil {
		t.Fatalf("ukify inspect: %v\n%s", err, out)
	}
	for _, sec := range sections {
		sum := sha256.Sum256(sec.Data)
		if got := seen[sec.Name]; got.Size != len(sec.Data) || got.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("ukify inspect: section %s = %+v, want %d bytes, SHA-256 %x", sec.Name, got, len(sec.Data), sum)
		}
	}
	if len(seen) != len(sections) {
		t.Errorf("ukify sees %d sections, want %d:\n%s", len(seen), len(sections), out)
	}
}

// TestBuildRejectsMicrocode: the kernel would pass over it in silence.
func TestBuildRejectsMicrocode(t *testing.T) {
	s := interop(t).stub(t)
	for name, data := range map[string]string{
		"compressed":     "\x28\xb5\x2f\xfd kernel/x86/microcode/GenuineIntel.bin",
		"another folder": "070701 GenuineIntel.bin",
	} {
		_, err := s.Build(append(parts(), uki.Section{Name: ".ucode", Data: []byte(data)}))
		if err == nil || !strings.Contains(err.Error(), "want an uncompressed cpio archive") {
			t.Errorf("%s: Build = %v, want an error about the archive", name, err)
		}
	}
}

// TestPCR11Newer: the stub of systemd 257 measures sections that 252 does
// not know, .sbat of its own among them. Its systemd-measure says the same.
//
// compatible: Boot | systemd-stub, systemd-measure (Debian 13) | PCR 11 is what they say
func TestPCR11Newer(t *testing.T) {
	n := interop(t)
	s := n.stub(t)
	image, err := s.Build(parts())
	if err != nil {
		t.Fatal(err)
	}
	read, err := uki.Read(image)
	if err != nil {
		t.Fatal(err)
	}

	all := allParts(t, s)
	for _, row := range []struct {
		name     string
		sections []uki.Section // that the image is made of
		measured []uki.Section // that it has, the stub's own among them
	}{
		{"the stub's own .sbat", parts(), read},
		{"every section", all, all},
	} {
		files := map[string][]byte{}
		args := []string{"/usr/lib/systemd/systemd-measure", "calculate", "--bank=sha256", "--phase=" + uki.InInitrd}
		for _, sec := range row.measured {
			files[sec.Name[1:]] = sec.Data
			args = append(args, "--"+sec.Name[1:]+"=/tmp/"+sec.Name[1:])
		}

		value := s.PCR11(row.sections, uki.InInitrd)
		if out, want := n.run(t, files, args...), "11:sha256="+hex.EncodeToString(value[:]); !strings.Contains(out, want) {
			t.Errorf("%s: PCR11 = %s, systemd-measure says:\n%s", row.name, want, out)
		}
	}
}

// TestSBATRejects: shim reads these lines before anything is verified.
func TestSBATRejects(t *testing.T) {
	s, data := readStub(t)
	bare, err := uki.ReadStub(bytes.ReplaceAll(data, []byte(".sbat\x00"), []byte(".xbat\x00")))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, lines, want string
		stub              *uki.Stub
	}{
		{"fields", "shop,1,Shop", `"shop,1,Shop" has 3 fields, want 6`, s},
		{"generation", "shop,x,Shop,shop,1,url", `the generation is "x"`, s},
		{"generation zero", "shop,0,Shop,shop,1,url", `the generation is "0"`, s},
		{"none", "sbat,1,a,b,1,c\n\n", "there are none", s},
		{"a stub without", "shop,1,Shop,shop,1,url", "the stub has no section .sbat", bare},
	} {
		if _, err := row.stub.SBAT([]byte(row.lines)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: SBAT = %v, want %q", row.name, err, row.want)
		}
	}
}

package initramfs_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"latchkey/initramfs"
)

// newc writes one entry; link names count of a file with several names.
func newc(name, body string, mode, links uint32) string {
	pad := func(s string) string { return s + strings.Repeat("\x00", -len(s)&3) }
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1, mode, 0, 0, links, 0, len(body), 0, 0, 0, 0, len(name)+1, 0)
	return pad(head+name+"\x00") + pad(body)
}

const regular, folder, link = 0o100644, 0o040755, 0o120777

func archiveOf(entries ...string) string {
	return strings.Join(entries, "") + newc("TRAILER!!!", "", 0, 1)
}

func zst(s string) string {
	z, _ := zstd.NewWriter(nil)
	return string(z.EncodeAll([]byte(s), nil))
}

func gz(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	z.Close()
	return b.String()
}

func aligned(s string) string { return s + strings.Repeat("\x00", -len(s)&3) }

// TestRecognize: what begins as no image is none; what kernels unpack and we
// do not is one.
func TestRecognize(t *testing.T) {
	for image, ok := range map[string]bool{
		"070701 and on": true, "070702 and on": true, "\x28\xb5\x2f\xfd": true, "\x1f\x8b\x08": true, "\xfd7zXZ\x00": true,
		"": false, "07070": false, "070707 (odc)": false, "MZ an EFI program": false, "\x28\xb5": false,
	} {
		if err := initramfs.Recognize([]byte(image)); (err == nil) != ok {
			t.Errorf("%q: %v, want an image: %t", image, err, ok)
		}
	}
}

// List takes what the kernel takes (init/initramfs.c), in all the forms in
// which archives follow each other, and nothing else.
func TestList(t *testing.T) {
	a, b := archiveOf(newc("a", "one", regular, 1)), archiveOf(newc("b", "two", regular, 1))
	for _, row := range []struct{ name, image, want string }{
		{"one archive", a, "a=one"},
		{"two, plain", a + b, "a=one b=two"},
		{"zeros between", a + strings.Repeat("\x00", 512) + b, "a=one b=two"},
		{"plain, then zstd", a + zst(b), "a=one b=two"},
		{"zstd, then zstd without padding", zst(a) + zst(b), "a=one b=two"},
		{"zstd, then plain", aligned(zst(a)) + b, "a=one b=two"},
		{"gzip, then zstd", gz(a) + zst(b), "a=one b=two"},
		{"two archives in one frame", zst(a + b), "a=one b=two"},
		{"no padding at the end", a[:len(a)-3], "a=one"},

		{"plain, not at a multiple of four", zst(a) + strings.Repeat("\x00", (5-len(zst(a))&3)&3) + b, "the kernel would stop"},
		{"junk behind", a + "junk", "the kernel would stop"},
		{"junk in a frame", zst(a + "junk"), "the kernel would stop"},
		{"compressed twice", zst(zst(a)), "the kernel would stop"},
		{"no end", newc("a", "one", regular, 1), "unexpected EOF"},
		{"cut in the body", a[:114], "claims 3 bytes"},
		{"a frame that is cut", zst(a)[:len(zst(a))-8], "unexpected EOF"},
		{"name of 4 GiB", strings.Replace(a, "0000000200000000a", "FFFFFFFF00000000a", 1), "a name of 4294967295 bytes"},
		{"file of 4 GiB", strings.Replace(a, "00000003", "FFFFFFFF", 1), "more than 1073741824 bytes"},
		{"old format", strings.Replace(a, "070701", "070707", 1), "want 070701"},
		{"no digits", strings.Replace(a, "000081A4", "0000zzzz", 1), "hex digits"},
		{"a frame that says it is larger", "\x28\xb5\x2f\xfd\xe0" + "\x01\x00\x00\x40\x00\x00\x00\x00" + "\x01\x00\x00", "more than 1073741824 bytes"},
		{"xz", "\xfd7zXZ\x00", "compressed by xz"},
	} {
		entries, err := initramfs.List([]byte(row.image))
		var got []string
		for _, e := range entries {
			got = append(got, e.Name+"="+string(e.Data))
		}
		if err == nil && strings.Join(got, " ") != row.want || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: List = %q, %v, want %q", row.name, got, err, row.want)
		}
	}
}

// A plan that is shown must be the one that boots: whatever gives the
// kernel another /plan.json is refused.
func TestFileIsTheOneThatBoots(t *testing.T) {
	good := newc("plan.json", "good", regular, 1)
	bad := func(name string) string { return archiveOf(newc(name, "bad", regular, 1)) }
	for _, row := range []struct{ name, image, want string }{
		{"once", archiveOf(good), ""},
		{"with folders before and after", archiveOf(newc(".", "", folder, 2), good) + archiveOf(newc(".", "", folder, 2)), ""},
		{"appended", archiveOf(good) + bad("plan.json"), "2 times"},
		{"appended with a slash", archiveOf(good) + bad("/plan.json"), "2 times"},
		{"appended with a dot", archiveOf(good) + bad("./plan.json"), "2 times"},
		{"appended through a folder", archiveOf(good) + bad("x/../plan.json"), "2 times"},
		{"appended through a link to the root", archiveOf(good, newc("x", ".", link, 1)) + bad("x/plan.json"), "2 times"},
		{"appended through links to links", archiveOf(good, newc("x", "/y", link, 1), newc("y", "/", link, 1)) + bad("x/x/plan.json"), "2 times"},
		{"compressed", archiveOf(good) + zst(bad("plan.json")), "2 times"},
		{"a link", archiveOf(newc("plan.json", "other", link, 1), newc("other", "bad", regular, 1)), "no plain file"},
		{"one of two names", archiveOf(newc("other", "", regular, 2), newc("plan.json", "bad", regular, 2)), "no plain file"},
		{"made a folder", archiveOf(good, newc("plan.json", "", folder, 2)), "2 times"},
	} {
		entries, err := initramfs.List([]byte(row.image))
		if err != nil {
			t.Fatalf("%s: List = %v", row.name, err)
		}
		e, err := initramfs.Unpacked(entries).File("/plan.json")
		switch {
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: File = %v, %v, want an error with %q", row.name, e, err, row.want)
		case row.want == "" && (err != nil || string(e.Data) != "good"):
			t.Errorf("%s: File = %v, %v, want the good one", row.name, e, err)
		}
	}
}

func TestDoubled(t *testing.T) {
	entries, err := initramfs.List([]byte(archiveOf(newc("b", "", regular, 1), newc("a", "", regular, 1), newc("d", "", folder, 2), newc("d", "", folder, 2)) + archiveOf(newc("./a", "", regular, 1))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a"}, initramfs.Unpacked(entries).Doubled()); diff != "" {
		t.Errorf("Doubled (-want +got):\n%s", diff)
	}
}

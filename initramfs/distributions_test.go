package initramfs_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDistributions: from the modules of a distribution, in its layout and
// compressed by the programs and options that its kernel package is built
// with, comes the same image as from modules that are not compressed.
//
// compatible: Boot | modules of Fedora, RHEL and openSUSE (.ko.xz, .ko.zst), Ubuntu and Arch (.ko.zst), Alpine (.ko.gz) | an image has the same modules as from files that are not compressed
func TestDistributions(t *testing.T) {
	plain := newTree(t)
	big := make([]byte, 3<<20) // more than a block of any format
	rand.NewChaCha8([32]byte{1}).Read(big[:1<<20])
	module := append(elf("license=GPL\x00", false), big...)
	plain.write("modules/6.1/kernel/crypto/xts.ko", module)
	_, want, err := plain.build(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, suffix string
		compress     []string
		usr          bool // /lib leads to /usr/lib
	}{
		{"Fedora, RHEL", ".xz", []string{"xz", "--check=crc32", "--lzma2=dict=1MiB"}, true},
		{"openSUSE", ".zst", []string{"zstd", "-q", "--rm"}, true},
		{"openSUSE Leap", ".xz", []string{"xz", "--check=crc32", "--lzma2=dict=2MiB"}, false},
		{"Ubuntu", ".zst", []string{"zstd", "-q", "--rm", "-19", "-T0"}, true},
		{"Arch", ".zst", []string{"zstd", "-q", "--rm", "-T0", "-19"}, true},
		{"Alpine", ".gz", []string{"gzip", "-9", "-n"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.compress[0]); err != nil && os.Getenv("CI") == "" {
				t.Skip("needs " + tt.compress[0] + ": run images/deps")
			}
			tr := newTree(t)
			tr.write("modules/6.1/kernel/crypto/xts.ko", module)
			tr.write("modules/6.1/vmlinuz", []byte("MZ")) // where Fedora, Arch and openSUSE have it
			compressModules(t, filepath.Join(tr.dir, "modules/6.1"), tt.suffix, tt.compress)
			if tt.usr {
				os.MkdirAll(filepath.Join(tr.dir, "usr/lib"), 0o755)
				os.Rename(filepath.Join(tr.dir, "modules"), filepath.Join(tr.dir, "usr/lib/modules"))
				os.Symlink("usr/lib/modules", filepath.Join(tr.dir, "modules"))
			}
			_, got, err := tr.build(config)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("Build: %v, %d bytes, want the %d of an image from modules that are not compressed", err, len(got), len(want))
			}
		})
	}
}

// compressModules compresses all modules of a tree, and says so in
// modules.dep as depmod(8) does.
func compressModules(t *testing.T, dir, suffix string, compress []string) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".ko") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(compress[0], append(compress[1:], files...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", compress, err, out)
	}
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	dep = bytes.ReplaceAll(dep, []byte(".ko"), []byte(".ko"+suffix))
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), dep, 0o644); err != nil {
		t.Fatal(err)
	}
}

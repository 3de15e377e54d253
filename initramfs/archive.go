package initramfs

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"latchkey/internal/plan"
	"latchkey/internal/rootdir"
)

// An archive gathers the files of an image. Folders are added as needed;
// a second file of one name is ignored.
type archive struct {
	records map[string]cpio.Record
}

func newArchive() *archive {
	a := &archive{map[string]cpio.Record{}}
	for _, dir := range []string{"dev", "proc", "sys", "run", "sysroot"} {
		a.records[dir] = cpio.Directory(dir, 0o755)
	}
	// The kernel opens /dev/console for init before devtmpfs is there.
	a.records["dev/console"] = cpio.CharDev("dev/console", 0o600, 5, 1)
	a.records["dev/null"] = cpio.CharDev("dev/null", 0o666, 1, 3)
	return a
}

// SizeFile and EndFile let the init see whether the kernel unpacked all of
// an image, which it does not without enough memory, and goes on: the first
// file says how many bytes there are, and the last one is missing then.
const SizeFile, EndFile = "/image-size", "/image-end"

// mark adds both, and returns the unpacked size, in whole pages as the
// kernel keeps them.
func (a *archive) mark() (unpacked int64) {
	const page = 4096
	for _, r := range a.records {
		unpacked += (int64(r.FileSize) + page - 1) / page * page
	}
	a.file(SizeFile[1:], []byte(strconv.FormatInt(unpacked, 10)+"\n"), 0o444)
	a.file(EndFile[1:], nil, 0o444)
	return unpacked
}

// order is that of the files: by name, but for what the init needs to say
// that there is not enough memory, and for the end.
func order(a, b string) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
}

func rank(name string) int {
	if name == EndFile[1:] {
		return 1
	}
	return -1 - slices.Index([]string{plan.ModulesFile[1:], "plan.json", "init", SizeFile[1:]}, name)
}

func (a *archive) file(name string, data []byte, perm uint64) {
	if _, ok := a.records[name]; ok {
		return
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		a.records[dir] = cpio.Directory(dir, 0o755)
	}
	a.records[name] = cpio.StaticFile(name, string(data), perm)
}

// firmware adds one firmware file from the first folder that has it; the
// name may be a glob, and the file may be compressed, as the kernel reads
// .xz and .zst itself.
func (a *archive) firmware(name, root string, dirs []string) (bool, error) {
	for _, dir := range dirs {
		for _, suffix := range []string{"", ".xz", ".zst"} {
			files, err := filepath.Glob(filepath.Join(dir, name) + suffix)
			if err != nil || len(files) == 0 {
				continue
			}

			for _, f := range files {
				data, err := os.ReadFile(rootdir.Follow(root, f))
				if err != nil {
					return false, fmt.Errorf("reading firmware: %w", err)
				}
				rel, _ := filepath.Rel(dir, f)
				a.file(path.Join("lib/firmware", rel), data, 0o644)
			}

			return true, nil
		}
	}
	return false, nil
}

// write writes the archive: sorted, without times, owners and inode
// numbers of this machine, compressed with zstd.
func (a *archive) write(w io.Writer, c *Compressors, level int) error {
	return c.zstd(w, level, func(w io.Writer) error { return writeRecords(w, a.records) })
}

func writeRecords(w io.Writer, records map[string]cpio.Record) error {
	names := make([]string, 0, len(records))
	for name := range records {
		names = append(names, name)
	}
	slices.SortFunc(names, order)
	out := cpio.Newc.Writer(w)
	for i, name := range names {
		r := cpio.MakeReproducible(records[name])
		r.Ino = uint64(i + 1)
		if err := out.WriteRecord(r); err != nil {
			return fmt.Errorf("writing %s into the image: %w", name, err)
		}
	}
	return cpio.WriteTrailer(out)
}

// microcode writes the first, uncompressed archive, from which the kernel
// takes CPU microcode before it unpacks the rest
// (Documentation/x86/microcode.rst). Nothing is written without files.
func microcode(w io.Writer, root string, dirs []string) error {
	a := &archive{map[string]cpio.Record{}}
	for vendor, glob := range map[string]string{"GenuineIntel": "intel-ucode/*", "AuthenticAMD": "amd-ucode/*.bin*"} {
		var blob []byte
		for _, dir := range dirs {
			files, err := filepath.Glob(filepath.Join(dir, glob))
			if err != nil {
				return err
			}
			for _, f := range files {
				data, err := readMicrocode(rootdir.Follow(root, f))
				if err != nil {
					return fmt.Errorf("reading microcode: %w", err)
				}
				blob = append(blob, data...)
			}
		}
		if blob != nil {
			a.file("kernel/x86/microcode/"+vendor+".bin", blob, 0o644)
		}
	}

	if len(a.records) == 0 {
		return nil
	}
	return writeRecords(w, a.records)
}

// readMicrocode reads a file that may be compressed: the kernel's early
// loader takes the first archive as it stands. Signatures beside AMD's files
// are none.
func readMicrocode(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	switch filepath.Ext(file) {
	case ".xz", ".zst", ".gz":
		if err == nil {
			data, err = decompress(file, data)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", file, err)
		}
	case ".asc":
		return nil, nil
	}
	return data, err
}

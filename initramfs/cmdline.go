package initramfs

import (
	"bytes"

	"github.com/u-root/u-root/pkg/cpio"
)

// CmdlineFile is where the init finds the command line that a unified kernel
// image was built with: what an addon or a boot loader adds, it can tell.
const CmdlineFile = "/image-cmdline"

// WithCmdline puts that file before an initramfs, as an archive of its own:
// the kernel unpacks one after another, and finds microcode in a later one.
func WithCmdline(initrd []byte, cmdline string) ([]byte, error) {
	var out bytes.Buffer
	file := cpio.StaticFile(CmdlineFile[1:], cmdline, 0o444)
	if err := writeRecords(&out, map[string]cpio.Record{file.Name: file}); err != nil {
		return nil, err
	}
	out.Write(make([]byte, -out.Len()&3)) // headers lie at multiples of four
	out.Write(initrd)
	return out.Bytes(), nil
}

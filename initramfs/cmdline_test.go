package initramfs_test

import (
	"bytes"
	"slices"
	"testing"

	"latchkey/initramfs"
)

// TestWithCmdline: the archive in front keeps the alignment that the kernel
// wants of the next one, whatever the length of the command line, and the
// rest of the image is as it was.
func TestWithCmdline(t *testing.T) {
	inner, err := initramfs.WithCmdline(nil, "inner")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"", "r", "ro", "ro x", "ro root=/dev/mapper/root"} {
		image, err := initramfs.WithCmdline(inner, line)
		if err != nil {
			t.Fatal(err)
		}
		if at := len(image) - len(inner); at%4 != 0 || !bytes.HasSuffix(image, inner) {
			t.Errorf("WithCmdline(%q): the image begins at byte %d, want a multiple of 4 and the same bytes", line, at)
		}

		entries, err := initramfs.List(image)
		if err != nil {
			t.Fatal(err)
		}
		var data []string
		for _, e := range entries {
			if "/"+e.Name == initramfs.CmdlineFile {
				data = append(data, string(e.Data))
			}
		}
		if want := []string{line, "inner"}; !slices.Equal(data, want) {
			t.Errorf("WithCmdline(%q): command lines %q, want %q", line, data, want)
		}
	}
}

package initramfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/initramfs"
)

// header is the beginning of one of LUKS2, with n bytes that are not zero and
// as many that are.
func header(uuid string, n int) []byte {
	b := bytes.Repeat([]byte{1}, 2*n)
	clear(b[n:])
	copy(b, "LUKS\xba\xbe\x00\x02")
	clear(b[168:208])
	copy(b[168:], uuid)
	return b
}

// The header that the plan names is in the image, without the zeros behind
// it, and one that is another volume's or none is not.
func TestHeaderInImage(t *testing.T) {
	const uuid = "11111111-2222-3333-4444-555555555555"
	for _, tt := range []struct {
		name   string
		header []byte
		want   int // bytes in the image
		err    string
	}{
		{"a header", header(uuid, 64<<10), 64 << 10, ""},
		{"in upper case", header(strings.ToUpper(uuid), 64<<10), 64 << 10, ""},
		{"that ends in a block", header(uuid, 64<<10+1), 68 << 10, ""},
		{"another volume's", header("6b1f6ce2-1a40-4b88-8e4b-8d4c4b4f2d22", 64<<10), 0, `it is the header of volume "6b1f6ce2-1a40-4b88-8e4b-8d4c4b4f2d22"`},
		{"LUKS1", append([]byte("LUKS\xba\xbe\x00\x01"), header(uuid, 64<<10)[8:]...), 0, "no header of LUKS2"},
		{"noise", make([]byte, 64<<10), 0, "no header of LUKS2"},
		{"short", header(uuid, 1000), 0, "no header of LUKS2"},
		{"a disk", header(uuid, 17<<20), 0, "more than"},
		{"none", nil, 0, "no such file"},
	} {
		tr := newTree(t)
		path := filepath.Join(tr.dir, "root.hdr")
		if tt.header != nil {
			if err := os.WriteFile(path, tt.header, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(strings.Replace(config, "555555555555", "555555555555, header: {path: "+path+"}, data: PARTUUID=0001", 1)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		_, err = initramfs.Build(&out, initramfs.Options{Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"), Level: 3})
		if (err == nil) != (tt.err == "") || err != nil && (!strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: Build = %v, want %q", tt.name, err, tt.err)
		}
		if err != nil {
			continue
		}
		entries, err := initramfs.List(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(entries, func(e initramfs.Entry) bool { return e.Name == "headers/"+uuid })
		if i < 0 || len(entries[i].Data) != tt.want || !bytes.Equal(entries[i].Data, tt.header[:tt.want]) {
			t.Errorf("%s: the image lacks its first %d bytes", tt.name, tt.want)
		}
	}
}

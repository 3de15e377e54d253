package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"time"
)

// user runs the programs: "nonroot" of the field's minimal images, which pod
// security policies and volumes' owners are used to.
const (
	user     = 65532
	userText = "65532:65532"
)

// An image is one program in an empty root.
type image struct {
	program, version, commit string
	time                     time.Time
}

// ports and volumes of the programs that have some.
var (
	ports   = map[string]map[string]struct{}{"latchkey-kms": {"7741/tcp": {}}}
	volumes = map[string]map[string]struct{}{"latchkey-kms": {"/var/lib/latchkey-kms": {}}}
)

// annotations are those of image-spec's annotations.md.
func (im image) annotations() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title": im.program, "org.opencontainers.image.version": im.version, "org.opencontainers.image.revision": im.commit,
		"org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.created": im.time.Format(time.RFC3339),
	}
}

// config is image-spec's config.md: who runs what.
func (im image) config(arch, layer string) config {
	p := platformOf(arch)
	c := config{Created: im.time.Format(time.RFC3339), OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	c.Config.User = userText
	c.Config.Entrypoint = []string{"/usr/bin/" + im.program}
	c.Config.Env = []string{"PATH=/usr/bin"}
	c.Config.WorkingDir = "/"
	c.Config.Labels = im.annotations()
	c.Config.ExposedPorts, c.Config.Volumes = ports[im.program], volumes[im.program]
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{layer}
	c.History = []history{{Created: c.Created, CreatedBy: "make images"}}
	return c
}

// layer is the root: the program, who it runs as, what it is made of, and
// the folders that others mount on. Nothing in it can be written by the user
// but the key server's data.
func (im image) layer(program, materials []byte) ([]byte, error) {
	t := &tree{time: im.time}
	for _, dir := range []string{"etc", "etc/latchkey", "proc", "run", "sys", "dev", "usr", "usr/bin", "usr/share", "usr/share/latchkey", "var", "var/lib"} {
		t.add(tar.Header{Name: dir + "/", Mode: 0o755, Typeflag: tar.TypeDir}, nil)
	}
	t.add(tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}, nil)
	for folder := range volumes[im.program] {
		t.add(tar.Header{Name: folder[1:] + "/", Mode: 0o700, Typeflag: tar.TypeDir, Uid: user, Gid: user}, nil)
	}
	t.add(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nlatchkey:x:65532:\n"))
	t.add(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/:/\nlatchkey:x:65532:65532::/:/\n"))
	t.add(tar.Header{Name: "usr/bin/" + im.program, Mode: 0o755}, program)
	t.add(tar.Header{Name: "usr/share/latchkey/" + im.program + ".cdx.json", Mode: 0o644}, materials)
	return t.bytes()
}

// A tree is a tar archive whose entries all have one time.
type tree struct {
	time time.Time
	buf  bytes.Buffer
	tar  *tar.Writer
	err  error
}

func (t *tree) add(h tar.Header, text []byte) {
	if t.tar == nil {
		t.tar = tar.NewWriter(&t.buf)
	}
	if h.Typeflag == 0 {
		h.Typeflag = tar.TypeReg
	}
	h.ModTime, h.Size, h.Format = t.time, int64(len(text)), tar.FormatUSTAR
	t.err = errors.Join(t.err, t.tar.WriteHeader(&h))
	_, err := t.tar.Write(text)
	t.err = errors.Join(t.err, err)
}

func (t *tree) bytes() ([]byte, error) {
	err := errors.Join(t.err, t.tar.Close()) // which writes the rest
	return t.buf.Bytes(), err
}

// compress is gzip without a name and a time.
func compress(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(text)
	err = errors.Join(err, w.Close()) // which writes the rest
	return out.Bytes(), err
}

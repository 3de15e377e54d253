// Oci writes a container image without a container engine: an archive of an
// OCI image layout (image-spec 1.1) with an index of one image for each
// architecture. The same inputs give the same bytes.
//
//	oci OUT PROGRAM VERSION COMMIT ARCH=FOLDER…
//
// A folder has the program and PROGRAM.cdx.json, what it is made of. All times
// are SOURCE_DATE_EPOCH, in seconds since 1970.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 5 {
		return errors.New("usage: oci OUT PROGRAM VERSION COMMIT ARCH=FOLDER…")
	}
	at, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("reading SOURCE_DATE_EPOCH: %w", err)
	}
	im := image{program: args[1], version: args[2], commit: args[3], time: time.Unix(at, 0).UTC()}
	l := newLayout(im.time)
	var all []descriptor
	for _, a := range args[4:] {
		arch, folder, ok := strings.Cut(a, "=")
		if !ok {
			return fmt.Errorf("%q is not ARCH=FOLDER", a)
		}
		d, err := im.put(l, arch, folder)
		if err != nil {
			return fmt.Errorf("making the image of %s for %s: %w", im.program, arch, err)
		}
		all = append(all, d)
	}

	top := l.putJSON(typeIndex, index{SchemaVersion: 2, MediaType: typeIndex, Manifests: all, Annotations: im.annotations()})
	top.Annotations = map[string]string{"org.opencontainers.image.ref.name": im.version}
	var out bytes.Buffer
	if err := l.write(&out, top); err != nil {
		return err
	}
	return os.WriteFile(args[0], out.Bytes(), 0o644)
}

// put writes the image for one architecture.
func (im image) put(l *layout, arch, folder string) (descriptor, error) {
	program, err := os.ReadFile(filepath.Join(folder, im.program))
	if err != nil {
		return descriptor{}, err
	}
	materials, err := os.ReadFile(filepath.Join(folder, im.program+".cdx.json"))
	if err != nil {
		return descriptor{}, err
	}
	layer, err := im.layer(program, materials)
	if err != nil {
		return descriptor{}, err
	}
	packed, err := compress(layer)
	if err != nil {
		return descriptor{}, err
	}

	m := manifest{SchemaVersion: 2, MediaType: typeManifest, Annotations: im.annotations()}
	m.Config = l.putJSON(typeConfig, im.config(arch, digest(layer)))
	m.Layers = []descriptor{l.put(typeLayer, packed)}
	d := l.putJSON(typeManifest, m)
	d.Platform = platformOf(arch)
	return d, nil
}

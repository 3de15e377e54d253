package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"
)

// Media types of image-spec 1.1 (media-types.md).
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// A descriptor is image-spec's descriptor.md.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// platformOf says what containerd and docker compare: arm64 is always v8.
func platformOf(arch string) *platform {
	p := &platform{Architecture: arch, OS: "linux"}
	if arch == "arm64" {
		p.Variant = "v8"
	}
	return p
}

type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type config struct {
	Created      string `json:"created"`
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
	Config       struct {
		User         string              `json:"User"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
		Env          []string            `json:"Env"`
		Entrypoint   []string            `json:"Entrypoint"`
		Volumes      map[string]struct{} `json:"Volumes,omitempty"`
		WorkingDir   string              `json:"WorkingDir"`
		Labels       map[string]string   `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// A layout is image-spec's image-layout.md: blobs by their digests.
type layout struct {
	time  time.Time
	blobs map[string][]byte
}

func newLayout(at time.Time) *layout { return &layout{at, map[string][]byte{}} }

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (l *layout) put(mediaType string, text []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digest(text), Size: int64(len(text))}
	l.blobs[d.Digest] = text
	return d
}

func (l *layout) putJSON(mediaType string, value any) descriptor {
	return l.put(mediaType, encode(value))
}

// encode is for our own types, which always have JSON.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// write writes the layout as an archive; top is what its index.json names.
func (l *layout) write(w io.Writer, top descriptor) error {
	t := &tree{time: l.time}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		t.add(tar.Header{Name: dir, Mode: 0o755, Typeflag: tar.TypeDir}, nil)
	}
	for _, d := range slices.Sorted(maps.Keys(l.blobs)) {
		t.add(tar.Header{Name: "blobs/sha256/" + d[len("sha256:"):], Mode: 0o644}, l.blobs[d])
	}
	t.add(tar.Header{Name: "index.json", Mode: 0o644}, encode(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{top}}))
	t.add(tar.Header{Name: "oci-layout", Mode: 0o644}, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	text, err := t.bytes()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, bytes.NewReader(text))
	return err
}

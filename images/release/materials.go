package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// materials prints what Go programs are made of, by what the linker wrote
// into them: CycloneDX 1.6. A program is a component with the modules that it
// holds; Go's own packages are one, the standard library of that Go.
func materials(out io.Writer, name, version string, programs []string) error {
	at, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("reading SOURCE_DATE_EPOCH: %w", err)
	}

	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: time.Unix(at, 0).UTC().Format(time.RFC3339),
		Component: &cdx.Component{BOMRef: name, Type: cdx.ComponentTypeApplication, Name: name, Version: version, Licenses: apache},
	}
	modules, components, links := map[string]cdx.Component{}, []cdx.Component{}, []cdx.Dependency{}
	for _, p := range programs {
		c, uses, err := program(p, version)
		if err != nil {
			return err
		}
		maps.Copy(modules, uses)
		refs := slices.Sorted(maps.Keys(uses))
		components, links = append(components, c), append(links, cdx.Dependency{Ref: c.BOMRef, Dependencies: &refs})
	}
	for _, ref := range slices.Sorted(maps.Keys(modules)) {
		components = append(components, modules[ref])
	}
	bom.Components, bom.Dependencies = &components, &links
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
}

var apache = &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}

// program is a file as a component, and the modules in it by their names as
// package URLs.
func program(path, version string) (cdx.Component, map[string]cdx.Component, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return cdx.Component{}, nil, fmt.Errorf("reading what is in %s: %w", path, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return cdx.Component{}, nil, err
	}

	sum := sha256.Sum256(text)
	hashes := []cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}}
	c := cdx.Component{
		BOMRef: filepath.Base(path), Type: cdx.ComponentTypeApplication, Name: filepath.Base(path), Version: version, Hashes: &hashes, Licenses: apache,
	}
	modules := map[string]cdx.Component{}
	add := func(name, version string) {
		ref := "pkg:golang/" + name + "@" + version
		modules[ref] = cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: ref}
	}
	add("std", strings.TrimPrefix(info.GoVersion, "go"))
	for _, m := range info.Deps {
		add(inProgram(m).Path, inProgram(m).Version)
	}
	return c, modules, nil
}

// inProgram is the module that was linked: a replacement, if there is one.
func inProgram(m *debug.Module) *debug.Module {
	if m.Replace != nil {
		return m.Replace
	}
	return m
}

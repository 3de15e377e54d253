package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// ownName is the name of latchkey where a URI is wanted and none was given.
const ownName = "https://latchkey.invalid/latchkey"

// A resource is in-toto's ResourceDescriptor (attestation v1).
type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// A statement is in-toto's, version 1, with SLSA's predicate (provenance v1).
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     struct {
		BuildDefinition struct {
			BuildType            string            `json:"buildType"`
			ExternalParameters   map[string]string `json:"externalParameters"`
			ResolvedDependencies []resource        `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
		} `json:"runDetails"`
	} `json:"predicate"`
}

var commitRE = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// provenance prints where a folder's files came from. RELEASE_SOURCE is the
// URI of the repository, RELEASE_BUILDER that of who built. It has no time and
// no number of a run: the same commit gives the same statement.
func provenance(out io.Writer, folder, version, commit string) error {
	if !commitRE.MatchString(commit) {
		return fmt.Errorf("provenance needs the commit's whole hash, not %q", commit)
	}
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	found, err := files(folder)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		s.Subject = append(s.Subject, resource{Name: name, Digest: map[string]string{"sha256": hex.EncodeToString(sum[:])}})
	}
	if len(s.Subject) == 0 {
		return fmt.Errorf("%s has no files", folder)
	}

	source := or(os.Getenv("RELEASE_SOURCE"), ownName)
	d := &s.Predicate.BuildDefinition
	d.BuildType = ownName + "/build/make-release/v1"
	d.ExternalParameters = map[string]string{"source": source, "version": version}
	d.ResolvedDependencies = []resource{
		{URI: "git+" + source, Digest: map[string]string{"gitCommit": commit}},
		{Name: "go", URI: "pkg:golang/toolchain@" + runtime.Version()},
	}
	modules, err := sums("go.sum")
	if err != nil {
		return err
	}
	d.ResolvedDependencies = append(d.ResolvedDependencies, modules...)
	s.Predicate.RunDetails.Builder.ID = or(os.Getenv("RELEASE_BUILDER"), ownName+"/builder/unnamed")
	text := json.NewEncoder(out)
	text.SetIndent("", "  ")
	return text.Encode(s)
}

// sums are the modules of a go.sum. Their digest is in-toto's dirHash: Go's
// own, h1, in hex.
func sums(file string) (modules []resource, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		word := strings.Fields(lines.Text())
		if len(word) != 3 || strings.HasSuffix(word[1], "/go.mod") {
			continue
		}
		hash, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(word[2], "h1:"))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %s: %w", file, word[0], err)
		}
		modules = append(modules, resource{URI: "pkg:golang/" + word[0] + "@" + word[1], Digest: map[string]string{"dirHash": hex.EncodeToString(hash)}})
	}
	return modules, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

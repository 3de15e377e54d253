package kairos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// Bounds of a file of documents.
const (
	MaxDocuments = 1 << 20 // bytes
	maxNesting   = 12
)

// A Partition is one volume of a node, named as the operator knows it.
type Partition struct {
	Label, Device, UUID string
	Secret, Key         string // the Secret that has the passphrase, and its key; both may be empty
}

// A SealedVolume is the operator's word on one TPM.
type SealedVolume struct {
	Name        string
	Hash        kms.NodeID
	Partitions  []Partition
	Quarantined bool
	PCRs        map[string]string // nil: not said, learn all; "": learn once
}

// A Secret is passphrases that the operator chose.
type Secret struct {
	Name string
	Data map[string]secret.Bytes
}

// Documents are what one file says. Wipe them.
type Documents struct {
	Volumes []SealedVolume
	Secrets []Secret
}

// Wipe wipes all passphrases.
func (d *Documents) Wipe() {
	for _, s := range d.Secrets {
		for _, v := range s.Data {
			v.Wipe()
		}
	}
}

// ParseDocuments reads SealedVolume (keyserver.kairos.io/v1alpha1) and
// Secret (v1) documents. One that is wrong makes all of them wrong.
func ParseDocuments(file []byte) (*Documents, error) {
	if len(file) > MaxDocuments {
		return nil, fmt.Errorf("reading documents: more than %d bytes", MaxDocuments)
	}
	out := &Documents{}
	d := yaml.NewDecoder(bytes.NewReader(file))
	for n := 1; ; n++ {
		var node yaml.Node
		err := d.Decode(&node)
		if err == io.EOF && len(out.Volumes)+len(out.Secrets) > 0 {
			return out, nil
		}
		if err == io.EOF {
			err = errors.New("there is none")
		}
		if err == nil {
			err = out.add(&node)
		}
		if err != nil {
			out.Wipe()
			return nil, fmt.Errorf("reading document %d: %w", n, err)
		}
	}
}

// head is what says which kind a document is of.
type head struct {
	APIVersion string               `yaml:"apiVersion"`
	Kind       string               `yaml:"kind"`
	Rest       map[string]yaml.Node `yaml:",inline"`
}

// metadata: labels, annotations and what a cluster adds mean nothing here.
type metadata struct {
	Name      string               `yaml:"name"`
	Namespace string               `yaml:"namespace"`
	Rest      map[string]yaml.Node `yaml:",inline"`
}

func (out *Documents) add(node *yaml.Node) error {
	if node.Kind == 0 || node.Kind == yaml.DocumentNode && len(node.Content) == 1 && node.Content[0].Tag == "!!null" {
		return nil // nothing between two markers
	}
	if err := checkNode(node, 0); err != nil {
		return err
	}

	var h head
	if err := node.Decode(&h); err != nil {
		return err
	}

	switch h.APIVersion + " " + h.Kind {
	case "keyserver.kairos.io/v1alpha1 SealedVolume":
		return out.addVolume(node)
	case "v1 Secret":
		return out.addSecret(node)
	}

	return fmt.Errorf("it is a %.64q of %.64q, neither SealedVolume nor Secret", h.Kind, h.APIVersion)
}

// checkNode: no aliases, which could make much of little, and not too deep.
func checkNode(n *yaml.Node, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("line %d: nested deeper than %d", n.Line, maxNesting)
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return fmt.Errorf("line %d: anchors and aliases are not taken", n.Line)
	}
	for _, c := range n.Content {
		if err := checkNode(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// strictly decodes with unknown keys refused: "quarantine: true" must not
// be taken for nothing.
func strictly(node *yaml.Node, to any) error {
	text, err := yaml.Marshal(node)
	if err != nil {
		return err
	}
	defer clear(text)
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	return d.Decode(to)
}

// checkDocumentName: RFC 1123 subdomains, as Kubernetes has them.
func checkDocumentName(what, name string) error {
	if name == "" || len(name) > 253 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return fmt.Errorf("%s %.64q: a name of lower-case letters, digits, - and . is required", what, name)
	}
	return nil
}

// checkPCRs: a register that nodes do not quote could never be compared.
func checkPCRs(pcrs map[string]string) error {
	for index, value := range pcrs {
		if index != "0" && index != "7" && index != "11" {
			return fmt.Errorf("PCR %.8q: nodes quote only %v", index, PCRs)
		}
		if value != "" && (len(value) != 64 || strings.Trim(value, "0123456789abcdef") != "") {
			return fmt.Errorf("PCR %s: %.70s is not 64 lower-case hex digits", index, strconv.Quote(value))
		}
	}
	return nil
}

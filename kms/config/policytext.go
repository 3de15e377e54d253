package config

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
)

// A PolicyText is the section policy of a file, to be kept elsewhere.
type PolicyText struct {
	Text  []byte            // with its comments, and the key before it
	Files map[string][]byte // that it names, by path
}

// ReadPolicy reads and judges the section policy of a configuration file, and
// nothing else in it.
func ReadPolicy(path string) (p PolicyText, err error) {
	c, err := Read(path)
	if err != nil {
		return p, err
	}
	p.Files = map[string][]byte{}
	err = c.Policy.checkBy(func(name string) ([]byte, error) {
		file, err := datafile.Read(name, maxFile)
		if err == nil {
			p.Files[name] = file
		}
		return file, err
	})
	if err != nil {
		return p, &cli.Exit{Code: cli.Usage, Err: c.locate(under("policy", err))}
	}
	text, err := datafile.Read(path, maxFile)
	if err != nil {
		return p, fmt.Errorf("reading the configuration: %w", err)
	}
	p.Text, err = sectionOf(text, "policy")
	if err == nil && p.Text == nil {
		err = cli.Usagef("%s: there is no section policy in it", path)
	}
	return p, err
}

// sectionOf is one key of a document with what is below it, in YAML that says
// the same; nil: it has no such key.
func sectionOf(text []byte, key string) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	root := doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != key {
			continue
		}
		var out bytes.Buffer
		e := yaml.NewEncoder(&out)
		e.SetIndent(2)
		if err := e.Encode(&yaml.Node{Kind: yaml.MappingNode, Content: root.Content[i : i+2]}); err != nil {
			return nil, err
		}
		return out.Bytes(), e.Close()
	}
	return nil, nil
}

package cloudconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/spelling"
)

// A reader reads one file.
type reader struct {
	name string
	text []byte
	note func(error)
	next Config // what all files say, this one included
	bad  []error
}

// file reads the first document, as Kairos does; in others there is no kcrypt.
func (r *reader) file() error {
	d := yaml.NewDecoder(bytes.NewReader(r.text))
	for first := true; ; first = false {
		var document yaml.Node
		err := d.Decode(&document)
		if errors.Is(err, io.EOF) {
			return errors.Join(r.bad...)
		}
		if err != nil {
			return r.broken(err)
		}
		if err := r.document(resolve(document.Content[0]), first); err != nil {
			return err
		}
	}
}

// broken is what cannot be read. Where the word kcrypt does not stand in it,
// it is passed over.
func (r *reader) broken(err error) error {
	err = r.syntax(err)
	if bytes.Contains(r.text, []byte("kcrypt")) {
		return err
	}
	r.note(fmt.Errorf("%w; %w", err, ErrUnread))
	return nil
}

// inLine is how the library begins an error's text.
var inLine = regexp.MustCompile(`(?s)^yaml: (?:unmarshal errors:\s+)?(?:line (\d+): )?(.*)`)

// syntax is the library's error in our form.
func (r *reader) syntax(err error) error {
	m := inLine.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	at := r.name
	if m[1] != "" {
		at += ":" + m[1]
	}
	first, _, _ := strings.Cut(m[2], "\n")
	return fmt.Errorf("%s: %s", at, first)
}

func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	r.bad = append(r.bad, fmt.Errorf("%s:%d: %w", r.name, n.Line, fmt.Errorf(format, args...)))
}

func (r *reader) document(n *yaml.Node, first bool) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil // comments alone
	}
	if n.Kind != yaml.MappingNode {
		return r.broken(fmt.Errorf("yaml: line %d: want keys with values (key: value), found %s", n.Line, found(n)))
	}
	var top map[string]yaml.Node
	if err := n.Decode(&top); err != nil {
		return r.broken(err)
	}
	for _, name := range slices.Sorted(maps.Keys(top)) {
		value := top[name]
		switch {
		case name == "kcrypt" && !first:
			r.wrong(keyOf(n, name), "kcrypt stands in a second document (---), which nobody reads")
		case name == "kcrypt":
			r.kcrypt(keyOf(n, name), resolve(&value))
		case name == "install" && first:
			r.install(keyOf(n, name), resolve(&value))
		case name == "challenger" || name == "challenger_server":
			r.wrong(keyOf(n, name), "%s: it belongs in kcrypt; is it indented?", name)
		case resolve(&value).Kind == yaml.MappingNode && spelling.Distance(strings.ToLower(name), "kcrypt") <= 2:
			r.wrong(keyOf(n, name), "unknown key %.64q; did you mean \"kcrypt\"?", name)
		}
	}
	return nil
}

// keys are what stands in a mapping that is ours. An empty one is a mistake:
// what follows it is not indented.
func (r *reader) keys(key, n *yaml.Node, path string) map[string]yaml.Node {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		r.wrong(key, "%s: want keys with values, indented below it, found %s", path, found(n))
		return nil
	}
	var keys map[string]yaml.Node
	if err := n.Decode(&keys); err != nil {
		r.bad = append(r.bad, r.syntax(err))
	}
	return keys
}

func (r *reader) kcrypt(key, n *yaml.Node) {
	keys := r.keys(key, n, "kcrypt")
	if value, ok := keys["challenger"]; ok {
		r.challenger(keyOf(n, "challenger"), resolve(&value))
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		value := keys[name]
		if s, ok := find(device, name); ok {
			r.take(s, "kcrypt.", keyOf(n, name), resolve(&value))
		} else if err := unknown(name); name != "challenger" && err != nil {
			r.wrong(keyOf(n, name), "%w", err)
		} else if name != "challenger" {
			r.note(fmt.Errorf("%s:%d: kcrypt.%.64s is another program's, and not used here", r.name, keyOf(n, name).Line, name))
		}
	}
}

func (r *reader) challenger(key, n *yaml.Node) {
	keys := r.keys(key, n, "kcrypt.challenger")
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		value := keys[name]
		if s, ok := find(challenger, name); ok {
			r.take(s, "kcrypt.challenger.", keyOf(n, name), resolve(&value))
		} else {
			r.wrong(keyOf(n, name), "%w", unknownOfChallenger(name))
		}
	}
}

func (r *reader) take(s setting, path string, key, n *yaml.Node) {
	text := n.Value
	switch {
	case n.Kind != yaml.ScalarNode:
		r.wrong(key, "%s%s: want one value, found %s", path, s.name, found(n))
		return
	case n.Tag == "!!null":
		text = ""
	}
	if err := s.take(&r.next, text); err != nil {
		r.wrong(key, "%s%s %w", path, s.name, err)
	}
}

func (r *reader) install(key, n *yaml.Node) {
	var i struct {
		Encrypted []string `yaml:"encrypted_partitions"`
	}
	if err := n.Decode(&i); err != nil {
		r.wrong(key, "install.encrypted_partitions: want a list of labels, such as [COS_PERSISTENT]")
		return
	}
	if i.Encrypted != nil {
		r.next.Encrypted = i.Encrypted
	}
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// keyOf is where a mapping has a key, or the mapping if it was merged into it.
func keyOf(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i]
		}
	}
	return n
}

func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) > 0:
		return "keys"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode || n.Tag == "!!null" || n.Value == "":
		return "nothing"
	}
	return fmt.Sprintf("%.40q", n.Value)
}

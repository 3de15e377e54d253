package initramfs

import (
	"fmt"
	"slices"

	"latchkey/internal/plan"
)

// A MemberConfig is one of the sources that open a volume together, or so
// many of others.
type MemberConfig struct {
	PartConfig
	Need int          `yaml:"need" least:"1"`
	Of   []PartConfig `yaml:"of" least:"2" most:"8"`
}

// A PartConfig is a source whose key is a part of a passphrase.
type PartConfig struct {
	Word    string         `yaml:"-"`
	KeyFile *KeyFileConfig `yaml:"key-file"`
	Systemd *SystemdConfig `yaml:"systemd-tpm2"`
}

// UnmarshalText implements encoding.TextUnmarshaler, for members that are a
// word.
func (c *PartConfig) UnmarshalText(text []byte) error {
	switch c.Word = string(text); c.Word {
	case plan.SourceKMS, plan.SourceSystemd:
		return nil
	case plan.SourceKeyFile:
		return new(SourceConfig).UnmarshalText(text)
	}
	return notPart(c.Word)
}

func notPart(word string) error {
	if word == plan.SourcePrompt || word == plan.SourcePush || slices.Contains(sourceWords, word) {
		return fmt.Errorf("%s opens alone what it opens and is no part: want %s, %s or %s", word, plan.SourceKMS, plan.SourceSystemd, plan.SourceKeyFile)
	}
	return unknownSource(word)
}

// UnknownKey implements strictyaml.KeyTeller.
func (c *PartConfig) UnknownKey(key string) error {
	switch key {
	case plan.SourceKMS:
		return new(SourceConfig).UnknownKey(key)
	case "need", "of":
		return fmt.Errorf("%s stands in a combination in a combination already: nest no deeper", key)
	}
	return notPart(key)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *MemberConfig) UnmarshalText(text []byte) error { return c.PartConfig.UnmarshalText(text) }

// UnknownKey implements strictyaml.KeyTeller.
func (c *MemberConfig) UnknownKey(key string) error { return c.PartConfig.UnknownKey(key) }

// oneKey is the schema of a source that is a mapping: one key, or need and of.
func oneKey(keys map[string]any) map[string]any {
	keys["minProperties"], keys["maxProperties"] = 1, 2
	keys["dependentRequired"] = map[string]any{"need": []string{"of"}, "of": []string{"need"}}
	keys["if"] = map[string]any{"not": map[string]any{"required": []string{"need"}}}
	keys["then"] = map[string]any{"maxProperties": 1}
	return keys
}

func partSchema(keys map[string]any) map[string]any {
	return map[string]any{"anyOf": []any{map[string]any{"enum": []string{plan.SourceKMS, plan.SourceSystemd}}, keys}}
}

// Schema implements strictyaml.Schemer.
func (c *PartConfig) Schema(of func(v any) map[string]any) map[string]any {
	type mapping PartConfig // the keys, without what reads a word
	keys := of(mapping{})
	keys["minProperties"], keys["maxProperties"] = 1, 1
	return partSchema(keys)
}

// Schema implements strictyaml.Schemer.
func (c *MemberConfig) Schema(of func(v any) map[string]any) map[string]any {
	type part PartConfig
	return partSchema(oneKey(of(struct {
		part
		Need int          `yaml:"need" least:"1"`
		Of   []PartConfig `yaml:"of" least:"2" most:"8"`
	}{})))
}

func (c SourceConfig) together() bool { return c.Need != 0 || len(c.Of) > 0 }
func (c MemberConfig) together() bool { return c.Need != 0 || len(c.Of) > 0 }

// check wants a part to be one source.
func (c PartConfig) check() error {
	n := 0
	for _, set := range []bool{c.Word != "", c.KeyFile != nil, c.Systemd != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("want one of %s, %s, and %s: {…}", plan.SourceKMS, plan.SourceSystemd, plan.SourceKeyFile)
	}
	return nil
}

// maxOf bounds the sources of a combination.
const maxOf = 8

func checkNeed(need, of int) error {
	switch {
	case of < 2 || of > maxOf:
		return fmt.Errorf("of: there are %d sources, want 2 to %d", of, maxOf)
	case need < 1 || need > of:
		return fmt.Errorf("need is %d, want 1 to %d: so many of the sources open the volume together", need, of)
	}
	return nil
}

// checkCombination wants a threshold that can be reached, of sources that are
// parts.
func checkCombination(need int, of []MemberConfig) error {
	if err := checkNeed(need, len(of)); err != nil {
		return err
	}
	for i, m := range of {
		if !m.together() {
			if err := m.check(); err != nil {
				return fmt.Errorf("of[%d]: %w", i, err)
			}
			continue
		}
		if m.Word != "" || m.KeyFile != nil || m.Systemd != nil {
			return fmt.Errorf("of[%d]: need and of stand alone in their mapping", i)
		}
		if err := checkNeed(m.Need, len(m.Of)); err != nil {
			return fmt.Errorf("of[%d].%w", i, err)
		}
		for j, p := range m.Of {
			if err := p.check(); err != nil {
				return fmt.Errorf("of[%d].of[%d]: %w", i, j, err)
			}
		}
	}
	return nil
}

// name is what the plan calls the part.
func (c PartConfig) name(p *plan.Plan) string {
	return SourceConfig{Word: c.Word, KeyFile: c.KeyFile, Systemd: c.Systemd}.name(p)
}

// ways are those of a member: of a source, itself.
func (c MemberConfig) ways(p *plan.Plan) (ways [][]string) {
	if !c.together() {
		return [][]string{{c.name(p)}}
	}
	var parts [][][]string
	for _, part := range c.Of {
		parts = append(parts, [][]string{{part.name(p)}})
	}
	return choose(c.Need, parts)
}

// recipe is what the plan calls the combination. Volumes that say the same
// share it.
func (c SourceConfig) recipe(p *plan.Plan) string {
	var members [][][]string
	for _, m := range c.Of {
		members = append(members, m.ways(p))
	}
	r := plan.Recipe{Ways: minimal(choose(c.Need, members))}
	for _, have := range p.Recipes {
		if slices.EqualFunc(have.Ways, r.Ways, slices.Equal) {
			return have.Name
		}
	}
	r.Name = plan.SourceTogether
	if n := len(p.Recipes); n > 0 {
		r.Name = fmt.Sprintf("%s-%d", plan.SourceTogether, n+1)
	}
	p.Recipes = append(p.Recipes, r)
	return r.Name
}

// aliasParts is alias for a combination and its parts.
func (c *Config) aliasParts(name, at string, s SourceConfig, p *plan.Plan) {
	c.alias(name, at)
	part := func(at string, one PartConfig) { c.alias(one.name(p), at+"."+plan.KindOf(one.name(p))) }
	for i, m := range s.Of {
		at := fmt.Sprintf("%s.of[%d]", at, i)
		if !m.together() {
			part(at, m.PartConfig)
		}
		for j, one := range m.Of {
			part(fmt.Sprintf("%s.of[%d]", at, j), one)
		}
	}
}

// maxChoices bounds the ways that are looked at: more than any plan may have.
const maxChoices = 256

// choose are the ways in which so many of the members are there at once, in
// the order of the members.
func choose(need int, members [][][]string) (ways [][]string) {
	if need == 0 {
		return [][]string{nil}
	}
	for i, m := range members {
		if len(members)-i < need {
			break
		}
		for _, rest := range choose(need-1, members[i+1:]) {
			for _, one := range m {
				if way := union(slices.Clone(one), rest); len(ways) < maxChoices {
					ways = append(ways, way)
				}
			}
		}
	}
	return ways
}

// minimal leaves out the ways that have all sources of another one.
func minimal(ways [][]string) (all [][]string) {
	for i, way := range ways {
		more := func(j int, other []string) bool {
			within := !slices.ContainsFunc(other, func(s string) bool { return !slices.Contains(way, s) })
			return i != j && within && (len(other) < len(way) || j < i)
		}
		covered := false
		for j, other := range ways {
			covered = covered || more(j, other)
		}
		if !covered {
			all = append(all, way)
		}
	}
	return all
}

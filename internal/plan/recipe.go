package plan

import (
	"fmt"
	"slices"
	"strings"
)

// SourceTogether begins the names of recipes: "together", "together-2".
const SourceTogether = "together"

// Bounds of recipes: those that a plan has, the ways of one, each of which is
// a keyslot, and the sources of a way.
const (
	maxRecipes = 8
	maxWays    = 6
)

// A Recipe is one entry of a volume's sources that is several sources: all of
// one of its ways open the volume together, and fewer do not.
type Recipe struct {
	// Name is what volumes list: "together", "together-2" and so on.
	Name string `json:"name"`
	// Ways are the names of sources that are needed at once. A threshold of k
	// of n sources has a way for each k of them: no share of a secret is kept
	// anywhere.
	Ways [][]string `json:"ways"`
}

// Parts are the sources that may yield a part of a key: each gives bytes that
// nobody else knows, and that open nothing alone.
var Parts = []string{SourceKMS, SourceSystemd, SourceKeyFile}

// KindOf is a source without the number that tells key files apart.
func KindOf(source string) string {
	if source == SourceKeyFile || strings.HasPrefix(source, SourceKeyFile+"-") {
		return SourceKeyFile
	}
	return source
}

func (r Recipe) check() error {
	if r.Name != SourceTogether && !strings.HasPrefix(r.Name, SourceTogether+"-") || len(r.Name) > 16 || !printable(r.Name) || strings.ContainsAny(r.Name, "/,; ") {
		return fmt.Errorf("its name is %.40q", r.Name)
	}
	if len(r.Ways) < 1 || len(r.Ways) > maxWays {
		return fmt.Errorf("%d combinations of sources would open the volume, want 1 to %d: each is a keyslot", len(r.Ways), maxWays)
	}
	for i, way := range r.Ways {
		if len(way) < 2 {
			return fmt.Errorf("%s alone would open the volume: list it beside the combination, not in it", strings.Join(way, ""))
		}
		var kinds []string
		for _, s := range way {
			kind := KindOf(s)
			switch {
			case !slices.Contains(Parts, kind):
				return fmt.Errorf("%s opens alone what it opens, want %s", s, strings.Join(Parts, ", "))
			case slices.Contains(kinds, kind):
				return fmt.Errorf("two of the kind %s would be needed at once, and one combination has one of each kind", kind)
			}
			kinds = append(kinds, kind)
		}
		for _, other := range r.Ways[:i] {
			if sameSet(way, other) {
				return fmt.Errorf("%s stand together twice", strings.Join(way, " and "))
			}
		}
	}
	return nil
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// Recipe finds a recipe by the name that volumes list.
func (p *Plan) Recipe(name string) (r Recipe, ok bool) {
	i := slices.IndexFunc(p.Recipes, func(r Recipe) bool { return r.Name == name })
	if i < 0 {
		return Recipe{}, false
	}
	return p.Recipes[i], true
}

// Members are the sources behind a name that a volume lists: those of a
// recipe, each once, or the one itself.
func (p *Plan) Members(name string) (all []string) {
	r, ok := p.Recipe(name)
	if !ok {
		return []string{name}
	}
	for _, way := range r.Ways {
		for _, s := range way {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// WaysOf are the ways of all recipes that a volume lists.
func (p *Plan) WaysOf(v Volume) (ways [][]string) {
	for _, name := range v.Sources {
		r, _ := p.Recipe(name)
		ways = append(ways, r.Ways...)
	}
	return ways
}

// Uses tells whether a volume opens by a source, alone or with others.
func (p *Plan) Uses(v Volume, source string) bool {
	return slices.ContainsFunc(v.Sources, func(s string) bool { return slices.Contains(p.Members(s), source) })
}

// checkWays judges each recipe by itself.
func (p *Plan) checkWays() error {
	if len(p.Recipes) > maxRecipes {
		return fmt.Errorf("there are %d combinations of sources, the limit is %d", len(p.Recipes), maxRecipes)
	}
	for i, r := range p.Recipes {
		if err := r.check(); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		if slices.ContainsFunc(p.Recipes[:i], func(o Recipe) bool { return o.Name == r.Name }) {
			return fmt.Errorf("two combinations have the name %s", r.Name)
		}
	}
	return nil
}

// checkRecipes wants recipes of sources that there are, and volumes in which
// no source is a part and opens alone as well.
func (p *Plan) checkRecipes(known []string) error {
	for _, r := range p.Recipes {
		for _, s := range p.Members(r.Name) {
			if !slices.Contains(known, s) {
				return fmt.Errorf("%s: %q is not known", r.Name, s)
			}
		}
	}
	for i, v := range p.Volumes {
		for _, name := range v.Sources {
			if _, ok := p.Recipe(name); !ok {
				continue
			}
			if v.LockedTo != "" {
				return fmt.Errorf("volumes[%d]: lock-to-state is of keys that Talos made, and these open it together: %s", i, strings.Join(p.Members(name), ", "))
			}
			for _, s := range p.Members(name) {
				if slices.Contains(v.Sources, s) {
					return fmt.Errorf("volumes[%d]: sources: %s stands alone, and as a part of what opens the volume together: a key that is a part opens nothing alone", i, s)
				}
			}
		}
	}
	return nil
}

// needsSealed tells whether the plan must say which secrets of the TPM may
// open a volume. In a combination with the key server it need not: that knows
// the volume, and its part is nobody else's.
func (p *Plan) needsSealed(v Volume) bool {
	if v.Digest != "" {
		return false
	}
	for _, name := range v.Sources {
		r, _ := p.Recipe(name)
		without := func(way []string) bool {
			return slices.Contains(way, SourceSystemd) && !slices.Contains(way, SourceKMS)
		}
		if name == SourceSystemd || slices.ContainsFunc(r.Ways, without) {
			return true
		}
	}
	return false
}

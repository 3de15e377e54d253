package mirror

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// A tree does what a sorted map does, and those before it stay as they are.
func TestTree(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	type step struct {
		tree tree
		want map[string]string
	}
	steps := []step{{tree{}, map[string]string{}}}
	for range 2000 {
		last := steps[len(steps)-1]
		next, want := last.tree, maps.Clone(last.want)
		key := fmt.Sprint(random.IntN(300))
		if random.IntN(3) == 0 {
			delete(want, key)
			next = next.drop(key)
		} else {
			want[key] = fmt.Sprint(random.Int())
			next = next.put(key, []byte(want[key]), 0)
		}
		steps = append(steps, step{next, want})
	}

	for i, s := range steps {
		from := fmt.Sprint(random.IntN(300))
		var got, want []string
		s.tree.scan(from, func(key string, value []byte) bool {
			got = append(got, key+"="+string(value))
			return true
		})

		for _, key := range slices.Sorted(maps.Keys(s.want)) {
			if key >= from {
				want = append(want, key+"="+s.want[key])
			}
			if value, found := s.tree.get(key); !found || string(value) != s.want[key] {
				t.Fatalf("tree %d: %s is %q (%t), want %q", i, key, value, found, s.want[key])
			}
		}

		if !slices.Equal(got, want) {
			t.Fatalf("tree %d from %s: %v, want %v", i, from, got, want)
		}
	}
}

// A tree of many keys in order is not a list.
func TestTreeIsFlat(t *testing.T) {
	var all tree
	for i := range 1 << 14 {
		all = all.put(fmt.Sprintf("%08d", i), nil, 0)
	}
	if d := depth(all.root); d > 60 {
		t.Errorf("16,384 keys make a tree %d deep", d)
	}
}

func depth(k *knot) int {
	if k == nil {
		return 0
	}
	return 1 + max(depth(k.left), depth(k.right))
}

package mirror

import "hash/maphash"

// A tree is an ordered map that never changes: put and drop give another
// one, which shares all but a path with it. So a transaction works on its
// own, a failed one is forgotten, and a view holds a state for as long as it
// likes. It is a treap: a search tree by key, a heap by the keys' hashes.
// The zero tree is empty.
type tree struct{ root *knot }

type knot struct {
	key         string
	value       []byte
	at          Version // at which the row was put; 0 if it is not known yet
	weight      uint64
	left, right *knot
}

var seed = maphash.MakeSeed()

func (t tree) get(key string) (value []byte, found bool) {
	if k := t.find(key); k != nil {
		return k.value, true
	}
	return nil, false
}

// find is the knot of a key, or nil.
func (t tree) find(key string) *knot {
	k := t.root
	for k != nil && key != k.key {
		if key < k.key {
			k = k.left
		} else {
			k = k.right
		}
	}
	return k
}

func (t tree) put(key string, value []byte, at Version) tree {
	below, above := split(t.root, key)
	_, above = split(above, key+"\x00") // the one that was there
	k := &knot{key: key, value: value, at: at, weight: maphash.String(seed, key)}
	return tree{join(join(below, k), above)}
}

func (t tree) drop(key string) tree {
	if _, found := t.get(key); !found {
		return t
	}
	below, above := split(t.root, key)
	_, above = split(above, key+"\x00")
	return tree{join(below, above)}
}

// scan calls f from a key on, ascending, until it returns false.
func (t tree) scan(from string, f func(key string, value []byte) bool) { walk(t.root, from, f) }

func walk(k *knot, from string, f func(string, []byte) bool) bool {
	if k == nil {
		return true
	}
	if k.key < from {
		return walk(k.right, from, f)
	}
	return walk(k.left, from, f) && f(k.key, k.value) && walk(k.right, from, f)
}

// split gives the keys below one, and the others.
func split(k *knot, key string) (below, others *knot) {
	if k == nil {
		return nil, nil
	}
	own := *k
	if k.key < key {
		own.right, others = split(k.right, key)
		return &own, others
	}
	below, own.left = split(k.left, key)
	return below, &own
}

// join is the opposite: all keys of a are below those of b.
func join(a, b *knot) *knot {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.weight > b.weight:
		own := *a
		own.right = join(a.right, b)
		return &own
	}
	own := *b
	own.left = join(a, b.left)
	return &own
}

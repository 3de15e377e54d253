// Package order sorts with one piece of code for all types: package slices
// has its algorithms compiled once more for each type that is sorted, 10 kB
// of the init every time.
package order

import "sort"

// By sorts s by compare, as slices.SortStableFunc does; it is made for lists
// that are short.
func By[E any](s []E, compare func(a, b E) int) {
	sort.SliceStable(s, func(i, j int) bool { return compare(s[i], s[j]) < 0 })
}

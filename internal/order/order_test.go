package order_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"latchkey/internal/order"
)

type pair struct{ key, at int }

func byKey(a, b pair) int { return a.key - b.key }

// By gives what package slices gives, in the same order where keys are equal.
func TestBy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		var got []pair
		for at := range n {
			got = append(got, pair{r.IntN(1 + n/3), at})
		}
		want := slices.Clone(got)
		slices.SortStableFunc(want, byKey)
		order.By(got, byKey)
		if !slices.Equal(got, want) {
			t.Fatalf("By = %v, want %v", got, want)
		}
	}
}

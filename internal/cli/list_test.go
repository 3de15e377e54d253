package cli_test

import (
	"slices"
	"testing"

	"latchkey/internal/cli"
)

// What follows a line break is not dropped in silence: the whole is refused.
func TestList(t *testing.T) {
	for _, row := range []struct {
		name string
		set  []string
		want []string // nil: refused
	}{
		{"one", []string{"a"}, []string{"a"}},
		{"commas", []string{"a,b"}, []string{"a", "b"}},
		{"said again", []string{"a", "b"}, []string{"a", "b"}},
		{"a line break", []string{"site=a\nfake"}, nil},
		{"a carriage return", []string{"a\rb"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := []string{"default"}
			var err error
			for value := cli.List(&got); len(row.set) > 0 && err == nil; row.set = row.set[1:] {
				err = value.Set(row.set[0])
			}
			if (err != nil) != (row.want == nil) || err == nil && !slices.Equal(got, row.want) {
				t.Errorf("got %q, %v, want %q", got, err, row.want)
			}
		})
	}
}

package clevis

import (
	"cmp"
	"slices"
	"strings"

	"latchkey/boot/codes"
	"latchkey/internal/order"
)

// failures are the errors of several shares, in one line.
type failures []error

func (f failures) Unwrap() []error { return f }

func (f failures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// join joins errors in their order, but silence tells least and comes last.
// nil is left out.
func join(errs []error) error {
	f := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	silent := func(err error) int {
		if codes.Of(err) == CodeSilent {
			return 1
		}
		return 0
	}
	order.By(f, func(a, b error) int { return cmp.Compare(silent(a), silent(b)) })
	switch len(f) {
	case 0:
		return nil
	case 1:
		return f[0]
	}
	return failures(f)
}

package bootentry

import (
	"cmp"
	"strings"
)

// compareVersions orders versions as boot loaders do (UAPI.10, Version Format
// Specification): it is negative if a is older than b.
func compareVersions(a, b string) int {
	for {
		a, b = strings.TrimLeftFunc(a, meaningless), strings.TrimLeftFunc(b, meaningless)
		if order, over := separator(&a, &b, '~'); over {
			return order
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		for _, c := range []byte{'-', '^', '.'} {
			if order, over := separator(&a, &b, c); over {
				return order
			}
		}

		isDigit := func(r rune) bool { return r >= '0' && r <= '9' }
		isLetter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
		digits := len(a) > 0 && isDigit(rune(a[0])) || len(b) > 0 && isDigit(rune(b[0]))
		of := isLetter
		if digits {
			of = isDigit
		}
		x, y := leading(&a, of), leading(&b, of)
		if digits {
			if order := cmp.Compare(min(len(x), 1), min(len(y), 1)); order != 0 {
				return order // a number is newer than letters
			}
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if order := cmp.Compare(len(x), len(y)); order != 0 {
				return order
			}
		}
		if order := strings.Compare(x, y); order != 0 {
			return order
		}
	}
}

func meaningless(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-.~^", r))
}

// separator skips one that both have; one of two that has it is the older.
func separator(a, b *string, c byte) (order int, over bool) {
	has := func(s string) int {
		if s != "" && s[0] == c {
			return 0
		}
		return 1
	}
	switch x, y := has(*a), has(*b); {
	case x != y:
		return cmp.Compare(x, y), true
	case x == 0:
		*a, *b = (*a)[1:], (*b)[1:]
	}
	return 0, false
}

// leading takes what a text begins with.
func leading(s *string, of func(rune) bool) string {
	rest := strings.TrimLeftFunc(*s, of)
	taken := (*s)[:len(*s)-len(rest)]
	*s = rest
	return taken
}

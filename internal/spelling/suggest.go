package spelling

import (
	"fmt"
	"strings"
)

// Suggest is the end of a message about a word that is not known: the one of
// names that was probably meant or, if none is near, all of them.
func Suggest(word string, names []string) string {
	best, least := "", 1+len(word)/2
	for _, name := range names {
		if d := Distance(word, name); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return "; known here: " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

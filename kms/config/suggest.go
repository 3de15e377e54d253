package config

import (
	"fmt"
	"strings"

	"latchkey/internal/spelling"
)

// suggest names the key that was probably meant.
func suggest(key string, names []string) string {
	best, least := "", 1+len(key)/2
	for _, name := range names {
		if d := spelling.Distance(key, name); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return "; known here: " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

package plan

import (
	"slices"
	"strings"

	"latchkey/internal/spelling"
)

// nearest is the option of ours that a misspelled one seems to mean: one of its
// parts is "latchkey", or nearly so, as in latchkey.kms or rd.lachkey.kms. It
// is "" if the option has nothing to do with latchkey.
func nearest(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '.' || r == '_' })
	at := slices.IndexFunc(words, func(w string) bool { return spelling.Distance(w, "latchkey") <= 2 })
	if at < 0 {
		return ""
	}

	last := strings.Join(words[at+1:], "_")
	best, least := "", len(last)/2+1
	for _, known := range []string{"kms", "service", "timeout", "report", "keepnet", "overlay"} {
		if d := spelling.Distance(last, known); d < least {
			best, least = "rd.latchkey."+known, d
		}
	}
	return best
}

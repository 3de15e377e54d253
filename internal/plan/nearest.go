package plan

import (
	"slices"
	"strings"
)

// nearest is the option of ours that a misspelled one seems to mean: one of its
// parts is "latchkey", or nearly so, as in latchkey.kms or rd.lachkey.kms. It
// is "" if the option has nothing to do with latchkey.
func nearest(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '.' || r == '_' })
	at := slices.IndexFunc(words, func(w string) bool { return distance(w, "latchkey") <= 2 })
	if at < 0 {
		return ""
	}

	last := strings.Join(words[at+1:], "_")
	best, least := "", len(last)/2+1
	for _, known := range []string{"kms", "service", "timeout", "report", "keepnet"} {
		if d := distance(last, known); d < least {
			best, least = "rd.latchkey."+known, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters must be put in, taken out or
// changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

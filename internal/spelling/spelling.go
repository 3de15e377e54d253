// Package spelling says how far apart two words are, so that a message can
// name the one that was probably meant.
package spelling

// Distance is Levenshtein's, in bytes: how many must be put in, taken out or
// changed to make b of a.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}

	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}

	return row[len(b)]
}

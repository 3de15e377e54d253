// Package label has the grammar of machines' labels.
package label

import (
	"fmt"
	"slices"
	"strings"
)

// Parse reads key=value: letters, digits, '.', '_', '-' and '/'.
func Parse(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" || len(s) > 128 || strings.ContainsFunc(key+value, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r))
	}) {
		return "", "", fmt.Errorf("label %.128q: want key=value of letters, digits, '.', '_', '-' and '/'", s)
	}
	return key, value, nil
}

// most is how many labels may be named together.
const most = 32

// Check says what is wrong with labels that name machines: those that have one
// of them.
func Check(labels []string) error {
	if len(labels) > most {
		return fmt.Errorf("%d labels: %d at most", len(labels), most)
	}
	for i, one := range labels {
		key, value, err := Parse(one)
		switch {
		case err != nil:
			return err
		case value == "":
			return fmt.Errorf("label %s: which value? No machine has a label without one", one)
		case key == "protocol":
			return fmt.Errorf("label %s: the protocol is no label that an operator gives: name one of those", one)
		case slices.Contains(labels[:i], one):
			return fmt.Errorf("label %s is there twice", one)
		}
	}
	return nil
}

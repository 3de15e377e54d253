package cli

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"
)

// A list is a flag of words: separated by commas, or said again.
type list struct {
	to    *[]string
	given bool
}

// List makes a flag's value of a list of words. A line break is refused:
// pflag's own lists drop in silence what follows one.
func List(to *[]string) pflag.Value { return &list{to: to} }

// Set implements pflag.Value.
func (l *list) Set(text string) error {
	if strings.ContainsAny(text, "\r\n") {
		return errors.New("a line break in it; say the flag once for each word")
	}
	if !l.given {
		*l.to, l.given = nil, true
	}
	if text != "" {
		*l.to = append(*l.to, strings.Split(text, ",")...)
	}
	return nil
}

// String implements pflag.Value.
func (l *list) String() string {
	if l.to == nil || len(*l.to) == 0 {
		return ""
	}
	return strings.Join(*l.to, ",")
}

// Type implements pflag.Value.
func (l *list) Type() string { return "strings" }

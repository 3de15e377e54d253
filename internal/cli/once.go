package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A once is a flag that takes one text. Said again with another one, it is
// refused: the first would be ignored in silence.
type once struct {
	pflag.Value
	given bool
}

// Set implements pflag.Value.
func (o *once) Set(text string) error {
	switch {
	case o.given && text != o.String():
		return fmt.Errorf("it was %q already: the flag takes one", o.String())
	case strings.ContainsAny(text, "\r\n"):
		return errors.New("a line break in it")
	}
	o.given = true
	return o.Value.Set(text)
}

// textsOnce makes every flag of a command and those below it that takes a
// text take one line of it, once.
func textsOnce(c *cobra.Command) {
	one := func(f *pflag.Flag) {
		if f.Value.Type() == "string" {
			f.Value = &once{Value: f.Value}
		}
	}
	c.LocalFlags().VisitAll(one)
	for _, sub := range c.Commands() {
		textsOnce(sub)
	}
}

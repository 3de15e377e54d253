package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/kms/server/lk1"
)

// errNotConfirmed is an operator's no.
var errNotConfirmed = errors.New("not confirmed: nothing was changed")

// terminal tells whether somebody at a terminal can be asked.
func terminal(c *cobra.Command) bool {
	f, ok := c.InOrStdin().(*os.File)
	if !ok {
		return false
	}
	return tty(f.Fd())
}

// confirm asks at the terminal.
func confirm(c *cobra.Command, question string) error {
	fmt.Fprintf(c.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errNotConfirmed
	}
	return nil
}

// lookToApprove has the operator look at what approving would give the
// machine, where that is a secret or a volume of others, and confirm exactly
// that. Without a terminal, nothing is confirmed, and only what is named is
// bound of it.
func (a *asker) lookToApprove(c *cobra.Command, what *lk1.Approval) error {
	if what.Seen != "" || !terminal(c) {
		return nil
	}
	var n lk1.Node
	if err := a.call(c.Context(), "GET", "/v1/node", url.Values{"who": {what.Who}}, nil, &n); err != nil {
		return nil // it may not be known yet; approving says what is wrong
	}
	if n.Describe() == "approved" && !what.Bind && !what.Move {
		return nil // a renewal binds nothing that is not named
	}

	open := slices.DeleteFunc(slices.Clone(n.Asks), func(v lk1.Asked) bool {
		return v.Standing == lk1.Free || v.Standing == lk1.Owned && !what.Move || slices.Contains(what.Volumes, v.UUID)
	})
	if len(open) == 0 {
		return nil
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s asks for:\n", n.Words)
	for _, v := range n.Asks {
		fmt.Fprintf(c.ErrOrStderr(), "  %s\n", describeAsked(v))
	}
	if err := confirm(c, "approve it and give it all of these?"); err != nil {
		return err
	}
	what.Seen = n.Seen
	return nil
}

// look has the operator look at a machine and answer a question about what it
// showed last; it returns the digest of that.
func (a *asker) look(c *cobra.Command, who url.Values, question string) (digest string, err error) {
	var n lk1.Node
	if err := a.call(c.Context(), "GET", "/v1/node", who, nil, &n); err != nil {
		return "", err
	}
	printNode(c.ErrOrStderr(), n)
	return n.Seen, confirm(c, question)
}

// describeAsked is a volume that a machine asks for, and why somebody should
// look at it.
func describeAsked(v lk1.Asked) string {
	switch v.Standing {
	case lk1.Stored:
		return fmt.Sprintf("%s  (you stored its passphrase)", v.UUID)
	case lk1.Owned:
		return fmt.Sprintf("%s  (belongs to %s)", v.UUID, strings.Join(v.Others, ", "))
	case lk1.Deleted:
		return fmt.Sprintf("%s  (deleted: \"volume undelete\" gives it back to its machine)", v.UUID)
	case lk1.Contested:
		return fmt.Sprintf("%s  (also asked for by %s)", v.UUID, strings.Join(v.Others, ", "))
	}
	return v.UUID.String()
}

// calledOf is the node's words, with its name if it has one.
func calledOf(n lk1.Node) string {
	if name := n.Labels["name"]; name != "" {
		return n.Words + " (" + name + ")"
	}
	return n.Words
}

// bootOf is what the node's boot state covers, in a word or two.
func bootOf(n lk1.Node) string {
	if n.Cover == nil {
		return "-"
	}
	return n.Cover.Kind
}

// volumesOf is how many volumes are the node's, or how many it asks for
// while it waits for approval.
func volumesOf(n lk1.Node) int {
	if len(n.Bound) == 0 && n.Describe() == "pending" && n.Shown != nil {
		return len(n.Shown.Volumes)
	}
	return len(n.Bound)
}

// lastAnswer is what the node was told, and the rule that the operator is
// told beside it.
func lastAnswer(n lk1.Node) string {
	if n.LastReason == "" {
		return n.LastStatus
	}
	return fmt.Sprintf("%s (%s)", n.LastStatus, n.LastReason)
}

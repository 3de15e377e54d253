package wrapping

import (
	"context"
	"errors"
	"fmt"

	"latchkey/internal/secret"
)

// Shares keep the key with people: so many of them give it together. The
// material is what their shares are recognized by.
type Shares struct {
	Needed, Of int
	Hand       func([]Share) error // gives new shares to people; nil: none are made
	Ask        *Asker              // nil: nobody is there to ask

	made []Share // by Wrap, for reading back
}

// An Asker asks who is there for shares, and remembers what was said.
type Asker struct {
	Prompt func(why string) (text string, err error)

	said []string
}

var _ Driver = (*Shares)(nil)

// Wrap implements Driver.
func (s *Shares) Wrap(_ context.Context, key secret.Bytes) ([]byte, error) {
	if s.Hand == nil {
		return nil, errors.New("shares are handed out by: latchkey-kms wrapping change --to-shares 3/5")
	}
	made, err := split(key, s.Needed, s.Of)
	if err != nil {
		return nil, err
	}
	if err := s.Hand(made); err != nil {
		return nil, fmt.Errorf("handing out the shares: %w", err)
	}
	s.made = made
	return knownOf(made)
}

// Unwrap implements Driver.
func (s *Shares) Unwrap(_ context.Context, material string) (secret.Bytes, error) {
	g, err := Gather(material)
	if err != nil {
		return secret.Bytes{}, err
	}
	ask := s.again()
	if s.made == nil {
		ask = s.Ask
	}
	if ask == nil {
		p := g.Progress()
		return secret.Bytes{}, fmt.Errorf("%w: %d shares of set %s are missing; each person gives one by: latchkey-kms unseal", ErrAway, p.Need, p.Set)
	}
	return ask.gather(g)
}

// again gives shares back that were just made, by their text.
func (s *Shares) again() *Asker {
	a := &Asker{Prompt: func(string) (string, error) { return "", errors.New("the shares do not give the key") }}
	for _, one := range s.made[:min(s.Needed, len(s.made))] {
		a.said = append(a.said, one.Text())
	}
	return a
}

// gather asks until a set is complete.
func (a *Asker) gather(g *Gathering) (secret.Bytes, error) {
	for _, text := range a.said {
		g.Give(text, "") // of another question
	}
	why := ""
	for {
		select {
		case <-g.Whole():
			key, _, _, err := g.Key()
			return key, err
		default:
		}
		p := g.Progress()
		text, err := a.Prompt(fmt.Sprintf("%sshare %d of %d (set %s)", why, p.Have+1, p.Need, p.Set))
		if err != nil {
			return secret.Bytes{}, fmt.Errorf("%sasking for shares: %w", why, err)
		}
		why = ""
		if _, err := g.Give(text, ""); err != nil {
			why = err.Error() + "; "
			continue
		}
		a.said = append(a.said, text)
	}
}

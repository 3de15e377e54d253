package kms

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"latchkey/internal/secret"
)

// A Client asks a KMS, as the node's side of lk1.
type Client struct {
	// Pins are the KMS keys that the node's plan trusts: at least one.
	Pins []Pin
	// Dial connects; nil is net.Dialer. It gets the URL's host as it is,
	// so a caller that found the address by mDNS puts it in the URL.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Grant is what the KMS gave: one answer for each volume asked for, in
// that order, and what a report needs. Wipe it.
type Grant struct {
	Volumes []Granted
	Pin     Pin // the pinned key that signed the challenge: whose grant this is
	// Untold is why the event log that the KMS asked for was not shown.
	Untold error

	cookie    []byte
	th3       [32]byte
	reportKey secret.Bytes
}

// WaitCookie is that with which Wait hears of a change, where a volume was
// refused.
func (g *Grant) WaitCookie() []byte { return g.cookie }

// Wipe forgets all secrets.
func (g *Grant) Wipe() {
	for _, v := range g.Volumes {
		v.Active.Secret.Wipe()
		v.Staged.Secret.Wipe()
	}
	g.reportKey.Wipe()
}

// Get asks the KMS at url for the secrets of volumes: one challenge, one
// activation and one quote for all. Its errors have a Code: a Status' when
// the KMS decided, else one of this package's, or that of the Prover. A
// volume's own refusal is in its Status, and the others are still granted.
func (c *Client) Get(ctx context.Context, url string, p Prover, wants []Want) (*Grant, error) {
	return c.exchange(ctx, url, p, Get, wants, nil)
}

// Announce tells the KMS that this machine's next boot will be another one,
// from the boot that got its keys. The volumes are those of the plan.
func (c *Client) Announce(ctx context.Context, url string, p Prover, wants []Want) error {
	g, err := c.exchange(ctx, url, p, Announce, wants, nil)
	if err != nil {
		return err
	}
	g.Wipe()
	return nil
}

// Deposit leaves offers with the KMS: op is Put, Stage or Enroll. There is
// one offer for each want, with the same UUID.
func (c *Client) Deposit(ctx context.Context, url string, p Prover, op Operation, wants []Want, offers []Offer) (*Grant, error) {
	same := slices.EqualFunc(wants, offers, func(w Want, o Offer) bool { return w.UUID == o.UUID })
	if op != Stage && op != Put && op != Enroll || !same {
		return nil, badRequest(errors.New("offers and volumes do not agree"))
	}
	return c.exchange(ctx, url, p, op, wants, func(context.Context, *Keys) (secret.Bytes, error) { return EncodeOffers(offers), nil })
}

// offering makes the plain text of an M3's offers; nil: there are none.
type offering func(context.Context, *Keys) (secret.Bytes, error)

func badRequest(err error) error {
	return &Error{What: "preparing the request", code: CodeBadRequest, Err: err}
}

// Report tells the KMS what became of a grant's volumes. It is best effort:
// a boot does not wait for it.
func (c *Client) Report(ctx context.Context, url string, g *Grant, results []Result) error {
	to, err := ParseURL(url)
	if err != nil {
		return err
	}
	m5, err := SealReport(g.reportKey, g.th3, g.cookie, results)
	if err != nil {
		return err
	}
	s := &session{dial: c.Dial, to: to}
	defer s.close()
	_, err = s.post(ctx, ReportPath, m5.Encode())
	return err
}

// exchange asks, and once more if a boot that the KMS did not know was
// refused and has been shown to it since.
func (c *Client) exchange(ctx context.Context, url string, p Prover, op Operation, wants []Want, offers offering) (*Grant, error) {
	to, err := ParseURL(url)
	if err != nil {
		return nil, err
	}

	if err := checkWants(wants); err != nil {
		return nil, badRequest(err)
	}
	s := &session{dial: c.Dial, to: to}
	defer s.close()
	g, told, err := c.ask(ctx, s, p, op, wants, offers)
	if e, ok := errors.AsType[*Error](err); ok && told && e.code == PCRMismatch.Code() {
		g, _, err = c.ask(ctx, s, p, op, wants, offers)
	}
	return g, err
}

// ask is the whole of lk1, from M1 to M4, and M6 if the KMS wants one. Told
// says that it was shown the event log.
func (c *Client) ask(ctx context.Context, s *session, p Prover, op Operation, wants []Want, offers offering) (g *Grant, told bool, err error) {
	ephemeral, m1, err := c.hello(p, op, wants)
	if err != nil {
		return nil, false, err
	}

	m2, err := s.post(ctx, ChallengePath, m1)
	if err != nil {
		return nil, false, err
	}

	heard, err := c.verify(s.to, HelloHash(m1), m2)
	if err != nil {
		return nil, false, err
	}

	keys, err := agree(ctx, p, ephemeral, heard)
	if err != nil {
		return nil, false, err
	}
	defer keys.Wipe()
	m3, err := prove(ctx, p, keys, heard, offers)
	if err != nil {
		return nil, false, err
	}

	m4, err := s.post(ctx, RedeemPath, m3)
	if err != nil {
		return nil, false, err
	}
	g, ask, err := accept(s.to, keys, m3, m4, wants)
	var untold error
	if w, ok := p.(Witness); ok && ask != nil {
		untold = testify(ctx, s, w, keys, RedeemHash(keys.th2, m3), ask)
		told = untold == nil
	}
	if e, ok := errors.AsType[*Error](err); ok && untold != nil && e.Words == "" {
		e.Words = "and was not shown what was booted: " + untold.Error()
	}
	if err != nil {
		return nil, told, err
	}
	g.Pin, g.Untold = heard.pin, untold
	return g, told, nil
}

func (c *Client) hello(p Prover, op Operation, wants []Want) (*ecdh.PrivateKey, []byte, error) {
	if len(c.Pins) == 0 || len(c.Pins) > MaxPins {
		return nil, nil, badRequest(fmt.Errorf("%d pinned KMS keys, not 1 to %d", len(c.Pins), MaxPins))
	}
	ephemeral, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generating an ephemeral key: %w", err)
	}

	m := Hello{
		Ephemeral: [32]byte(ephemeral.PublicKey().Bytes()),
		EKPublic:  p.EKPublic(), EKCert: p.EKCert(), AKPublic: p.AKPublic(),
		Operation: op, Volumes: wants,
	}

	rand.Read(m.Nonce[:])
	for _, pin := range c.Pins {
		m.Pins = append(m.Pins, pin.ID())
	}
	if len(m.EKPublic) > maxPublic || len(m.EKCert) > maxCert || len(m.AKPublic) > maxPublic {
		return nil, nil, badRequest(errors.New("the TPM's keys or certificate are too large"))
	}

	return ephemeral, m.Encode(), nil
}

// A heard challenge is one that a pinned key signed.
type heard struct {
	core   *Core
	cookie []byte
	th2    [32]byte
	pin    Pin
}

// verify checks that a pinned key signed the challenge, and returns it.
// Until one has, not one byte of the challenge reaches the TPM.
func (c *Client) verify(to Endpoint, th1 [32]byte, m2 []byte) (*heard, error) {
	what := "checking the challenge of " + to.String()
	m, err := ParseChallenge(m2)
	if err != nil {
		return nil, &Error{What: what, code: CodeBadAnswer, Err: err}
	}
	th2 := CoreHash(th1, m.Core)
	signed := m.Signed(th2)
	i := slices.IndexFunc(c.Pins, func(p Pin) bool { return ed25519.Verify(p[:], signed, m.Signature) })
	if i < 0 {
		return nil, &Error{What: what, code: CodeWrongPin, Err: errors.New("it is not signed with a KMS key of this image's plan")}
	}
	core, err := parseCore(m.Core)
	if err != nil {
		return nil, &Error{What: what, code: CodeBadAnswer, Err: err}
	}
	return &heard{core, m.Cookie, th2, c.Pins[i]}, nil
}

// prove builds M3.
func prove(ctx context.Context, p Prover, k *Keys, m2 *heard, offers offering) ([]byte, error) {
	m := Redeem{Ciphertext: k.Ciphertext(), Cookie: m2.cookie}
	if offers != nil {
		plain, err := offers(ctx, k)
		if err != nil {
			return nil, err
		}
		defer plain.Wipe()
		sealed, err := k.SealOffers(plain)
		if err != nil {
			return nil, err
		}
		m.Offers = sealed
	}

	extra := QuoteData(k.th2)
	quote, err := p.Quote(ctx, m2.core.Selection, extra[:])
	if err != nil {
		return nil, err
	}

	m.Quote = quote
	m.Seal(k)
	return m.Encode(), nil
}

// accept opens M4 and checks that it answers what was asked.
func accept(to Endpoint, k *Keys, m3, m4 []byte, wants []Want) (*Grant, *Ask, error) {
	what := "asking " + to.String() + " for keys"
	th3 := RedeemHash(k.th2, m3)
	answer, err := ParseAnswer(m4)
	if err != nil {
		return nil, nil, &Error{What: what, code: CodeBadAnswer, Err: err}
	}

	d, err := k.OpenDecision(answer, th3)
	if err != nil {
		return nil, nil, &Error{What: what, code: CodeNoGrant, Err: err}
	}

	g := &Grant{Volumes: d.Volumes, cookie: d.Cookie, th3: th3, reportKey: k.ReportKey().Clone()}
	if d.Status != OK {
		g.Wipe()
		return nil, d.Ask, &Error{What: what, code: d.Status.Code(), Words: printable(d.Words), Cookie: d.Cookie}
	}

	if !slices.EqualFunc(d.Volumes, wants, func(v Granted, w Want) bool { return v.UUID == w.UUID }) {
		g.Wipe()
		return nil, nil, &Error{What: what, code: CodeBadAnswer, Err: errors.New("it answers for other volumes")}
	}
	return g, d.Ask, nil
}

// printable is text for a console and a log.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if strconv.IsPrint(c) {
			return c
		}
		return -1
	}, s)
}

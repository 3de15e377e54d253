package lk1

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/presence"
)

// errRefused is a proof that does not hold. The sender gets an answer of
// the usual size that nobody can open.
var errRefused = errors.New("the proof does not hold")

// proof is what a redeem has shown, once all of it was checked.
type proof struct {
	node      kms.NodeID
	operation kms.Operation
	volumes   []kms.Want
	offers    []kms.Offer
	pcrs      map[int]digest
	clock     clock
	th2, th3  [32]byte
	akPublic  []byte
	reportKey secret.Bytes // the exchange's
	expiry    time.Duration
	key       uint64 // of the cookie
	from      string
	most      int      // volumes that this node may have and still take more by itself
	rivals    rivals   // who else asks for a volume that this node would take
	rotations []uint64 // of the volumes that it is given, by index

	certified *ekcert.Certificate // the EK's, if it holds
	rule      policy.Rule         // that decided, for the log
	uncertain error               // why it does not; nil: none was shown

	beatKey [attest.BeatKeySize]byte // with the operation beat
	sight   presence.Sight
}

// redeem answers M3 with M4. Any failure after the cookie was opened gives
// random bytes of an M4's size: from outside, a refusal is an answer.
func (s *Service) redeem(ctx context.Context, m3 []byte, from string) ([]byte, error) {
	m, err := kms.ParseRedeem(m3)
	if err != nil {
		return nil, err
	}

	t, err := s.ticketOf(ctx, m.Cookie)
	if err != nil {
		return nil, err
	}
	defer t.wipe()
	var keys *kms.Keys
	var p *proof

	err = s.work.Do(ctx, func() (err error) {
		if keys, err = t.keys(m.Ciphertext); err == nil {
			p, err = check(m, t, keys)
		}
		if err == nil && len(t.ekCert) > 0 {
			p.certified, p.uncertain = s.ekRoots.Load().Verify(t.ekCert, t.ekPublic, time.Now())
		}
		return err
	})

	if keys != nil {
		defer keys.Wipe()
	}
	if errors.Is(err, attest.ErrBusy) {
		return nil, err
	}
	if err != nil {
		s.counted.Decision("lk1", t.operation.String(), "proof")
		s.log.Warn("refused", "node", t.node, "words", t.node.Words(), "operation", t.operation, "from", from, "why", err)
		return noise(len(t.volumes)), nil
	}

	p.from, p.th3 = from, kms.RedeemHash(t.th2, m3)
	defer wipeOffers(p.offers)
	if p.operation == kms.PresenceBeat {
		if err := s.seen.Key(ctx, s.ledger); err != nil {
			return nil, &ledger.Unavailable{Err: err}
		}
	}
	d, err := s.decide(ctx, p)
	if errors.Is(err, errRefused) {
		s.counted.Decision("lk1", t.operation.String(), "proof")
		s.log.Warn("refused", "node", t.node, "words", t.node.Words(), "operation", t.operation, "from", from, "why", err)
		return noise(len(t.volumes)), nil
	}
	if err != nil {
		return nil, &ledger.Unavailable{Err: err}
	}
	defer wipeDecision(d)
	return s.answer(d, t, keys, p)
}

// check proves that the TPM opened S and that the quote is fresh and its
// own, before any record is looked at.
func check(m *kms.Redeem, t *ticket, keys *kms.Keys) (*proof, error) {
	if !m.Verify(keys) {
		return nil, fmt.Errorf("%w: the challenge was not opened", errRefused)
	}
	extra := kms.QuoteData(t.th2)
	c, err := checkQuote(m.Quote, t.akPublic, extra[:], t.selection)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}

	p := &proof{
		node: t.node, operation: t.operation, volumes: t.volumes, clock: c, th2: t.th2, expiry: t.expiry, key: t.key.id,
		pcrs: map[int]digest{}, akPublic: t.akPublic, reportKey: keys.ReportKey(),
	}
	for _, v := range m.Quote.PCRs {
		p.pcrs[v.Index] = v.Value
	}

	if t.operation == kms.Get || t.operation == kms.Announce || t.operation == kms.Recovery {
		if len(m.Offers) != 0 {
			return nil, fmt.Errorf("%w: %s carries offers", errRefused, t.operation)
		}
		return p, nil
	}

	plain, err := keys.OpenOffers(m.Offers)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	defer plain.Wipe()
	if t.operation == kms.PresenceBeat {
		return p, p.checkBeatKey(plain.Reveal(), t.akPublic)
	}
	if p.offers, err = kms.ParseOffers(plain); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}

	return p, checkOffers(p)
}

// checkOffers: one for each volume named in M1, of the operation's kind.
func checkOffers(p *proof) error {
	if len(p.offers) != len(p.volumes) {
		return fmt.Errorf("%w: offers for other volumes", errRefused)
	}
	for i, o := range p.offers {
		if o.UUID != p.volumes[i].UUID {
			return fmt.Errorf("%w: offers for other volumes", errRefused)
		}
		withSecret := o.Kind == kms.Static || o.Kind == kms.Bound
		if o.Kind > kms.Bound || withSecret != (o.Secret.Len() > 0) || withSecret == (p.operation == kms.Enroll) {
			return fmt.Errorf("%w: offer of kind %d with %s", errRefused, o.Kind, p.operation)
		}
	}
	return nil
}

// decide runs the policy in the transaction that records the redeem, so
// that approval and quarantine are those of this moment; it returns once
// that is on stable storage.
//
// A proof that was redeemed before is refused by a read: a transaction that
// fails makes those that share its write run again, and anybody can send one
// proof many times. Two that come at once both get past the read; then the
// later one decides nothing, which is no failure either.
func (s *Service) decide(ctx context.Context, p *proof) (*kms.Decision, error) {
	err := s.read(func(v view) (err error) {
		if _, _, err := v.unspent(p); err != nil {
			return err
		}
		p.rivals, err = v.rivalsOf(p)
		return err
	})
	if err != nil {
		return nil, err
	}

	var d *kms.Decision
	var refused error
	err = s.update(ctx, func(t *txn) error {
		if d != nil {
			wipeDecision(d) // of a run that did not count
		}
		d, refused, p.rotations = nil, nil, nil
		err := t.spend(p)
		if errors.Is(err, errRefused) {
			refused = err
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case s.bound != nil:
			d, err = s.judgeCopy(t, p)
		case p.operation == kms.PresenceBeat:
			d, err = s.judgeBeat(t, p)
		default:
			d, err = s.judge(t, p)
		}
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}

	s.logDecision(p, d)
	return d, nil
}

// answer seals the decision; after this it is released.
func (s *Service) answer(d *kms.Decision, t *ticket, keys *kms.Keys, p *proof) (m4Bytes []byte, err error) {
	d.Cookie = s.cookies.sealReceipt(&receipt{
		key: keys.ReportKey(), th3: p.th3, node: t.node, volumes: t.volumes, rotations: p.rotations, expiry: s.ledger.Now() + reportLife,
	})
	switch {
	case d.Status != kms.OK:
	case t.operation == kms.Recovery:
		d.Cookie = s.cookies.sealHearing(&hearing{
			key: keys.ReportKey(), th3: p.th3, node: t.node, clock: p.clock, volumes: t.volumes, expiry: s.ledger.Now() + recoveryLife,
		})
	case p.operation == kms.PresenceBeat:
		if d.Cookie, err = s.registered(p, keys); err != nil {
			return nil, err
		}
	}
	m4, err := keys.SealDecision(d, len(t.volumes), p.th3)
	if err != nil {
		return nil, err
	}
	return m4.Encode(), nil
}

// noise is a refusal that nobody can open, of an answer's size.
func noise(volumes int) []byte {
	m4 := kms.Answer{Sealed: make([]byte, kms.AnswerSize(volumes)-36)}
	rand.Read(m4.Fresh[:])
	rand.Read(m4.Sealed)
	return m4.Encode()
}

func (s *Service) logDecision(p *proof, d *kms.Decision) {
	s.counted.Decision("lk1", p.operation.String(), d.Status.Code())
	s.log.Info("decided", "node", p.node, "words", p.node.Words(), "operation", p.operation,
		"status", d.Status.Code(), "rule", p.rule, "volumes", len(p.volumes), "from", p.from, "challenge", hex.EncodeToString(p.th2[:8]), "says", d.Words)
}

func wipeOffers(offers []kms.Offer) {
	for _, o := range offers {
		o.Secret.Wipe()
	}
}

func wipeDecision(d *kms.Decision) {
	for _, v := range d.Volumes {
		v.Active.Secret.Wipe()
		v.Staged.Secret.Wipe()
	}
}

// usualPCRs are quoted where no release asks for others: firmware policy (7),
// what was booted (11), its command line (12), and whether volumes were
// opened (15).
var usualPCRs = (&policy.Policy{}).Selection()

// latchPCR is zero until the volumes are open.
const latchPCR = 15

// checkQuote judges a quote of an exchange.
func checkQuote(q kms.Quote, akPublic, extra []byte, selection []int) (clock, error) {
	key, err := attest.ReadAK(akPublic)
	if err != nil {
		return clock{}, err
	}
	signer := attest.EndorsementName(attest.NameOf(akPublic))
	c, err := attest.Quote{Attest: q.Attest, Signature: q.Signature, PCRs: q.PCRs}.Check(key, signer, extra, selection)
	return clock{Reset: c.Reset, Restart: c.Restart}, err
}

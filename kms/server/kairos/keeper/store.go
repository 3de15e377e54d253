package keeper

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/kairos"
)

// A secretKind says where a passphrase is from. Records hold it.
type secretKind byte

const (
	kindStatic    secretKind = iota + 1 // a Secret of the operator
	kindGenerated                       // made here
	kindSealed                          // made by the node, encrypted by its TPM: no passphrase
)

// Bounds of what one node can make us keep. A restart or a retry costs one
// attestation key, and making one costs a TPM seconds: a machine that boots
// ten times a day has enough for eighteen years.
const (
	maxAKs        = 1 << 16
	maxPartitions = 32
)

func newPartitionID() string {
	id := make([]byte, 16)
	rand.Read(id)
	return hex.EncodeToString(id)
}

func (v view) node(hash kms.NodeID) (machine, bool, error) { return v.k.fleet.Get(v.View, hash[:]) }

func (t *txn) saveNode(row machine) error { return t.k.fleet.Put(t.Txn, row) }

// retryFor is how long a client goes on with the attestation key of a
// process: it makes one outside its tries.
const retryFor = 10 * time.Minute

// replayed refuses an attestation key that was seen before, unless it is the
// client that tries again: their quotes carry no nonce, so a later clock is
// what tells a new quote from an old one.
func (t *txn) replayed(row *machine, p *kairos.Proof) (kairos.Reason, error) {
	if !t.Has(tableAKs, placeOfAK(row.Hash, p.AK)) {
		if row.AKs >= maxAKs {
			return kairos.TooManyKeys, nil
		}
		return 0, nil
	}
	last := row.LastAK
	if last == nil || last.Key != digest(p.AK) || p.Quote == nil || p.Quote.Clock <= last.Clock || time.Since(last.At) > retryFor {
		return kairos.Replayed, nil
	}
	return 0, nil
}

// spendAK records that an attestation key was seen, and its quote's clock.
func (t *txn) spendAK(row *machine, p *kairos.Proof) error {
	row.LastAK = &seenAK{Key: digest(p.AK), At: time.Now().UTC()}
	if p.Quote != nil {
		row.LastAK.Clock = p.Quote.Clock
	}
	key := placeOfAK(row.Hash, p.AK)
	if t.Has(tableAKs, key) {
		return nil
	}
	row.AKs++
	return t.Put(tableAKs, key, nil)
}

// answer finds a partition's passphrase, or makes one if the
// partition has none yet and the operator named none.
func (t *txn) answer(row *machine, part *partition, legacy bool) (outcome, error) {
	kind, s, o, err := t.secretOf(row, part)
	if err != nil || o.refusal != nil && o.refusal.Reason != kairos.NoSecret {
		return o, err
	}

	switch {
	case kind == kindSealed && !legacy:
		return refuse(kairos.TPMSealed, ""), nil // it opens nothing as it is
	case kind != 0:
		return outcome{answer: &kairos.Answer{Passphrase: s, Sealed: kind == kindSealed}}, nil
	case legacy:
		return o, nil // the node makes one, and posts it
	}

	s = newPassphrase()
	if err := t.putSecret(ownSecret(row.Hash, part.ID), kindGenerated, s); err != nil {
		s.Wipe()
		return outcome{}, err
	}

	return outcome{answer: &kairos.Answer{Passphrase: s}}, nil
}

// deposit keeps a sealed passphrase where there is nothing yet.
func (t *txn) deposit(row *machine, part *partition, sealed []byte) (outcome, error) {
	kind, s, o, err := t.secretOf(row, part)
	s.Wipe()
	if err != nil || o.refusal != nil && o.refusal.Reason != kairos.NoSecret {
		return o, err
	}
	if kind != 0 {
		return refuse(kairos.Kept, ""), nil
	}
	text := base64.RawURLEncoding.AppendEncode(nil, sealed)
	return outcome{answer: &kairos.Answer{}}, t.putSecret(ownSecret(row.Hash, part.ID), kindSealed, secret.Own(text))
}

// secretOf: the Secret that a document names, else the node's own, else
// the one of the default name. Names are built from documents only, never
// from what a node said.
func (v view) secretOf(row *machine, part *partition) (secretKind, secret.Bytes, outcome, error) {
	key := part.Key
	if key == "" {
		key = kairos.DefaultKey
	}

	if part.Secret != "" {
		kind, s, o, err := v.namedSecret(part.Secret, key)
		if o.refusal != nil && o.refusal.Reason == kairos.NoSecret {
			o.refusal.Reason = kairos.Missing
		}
		return kind, s, o, err
	}

	kind, s, err := v.loadSecret(ownSecret(row.Hash, part.ID))
	if err != nil || kind != 0 {
		return kind, s, outcome{}, err
	}

	if !part.Written || part.Label == "" {
		return 0, secret.Bytes{}, refuse(kairos.NoSecret, ""), nil
	}
	return v.namedSecret(kairos.DefaultSecret(part.Volume, part.Label), key)
}

// namedSecret: NoSecret if there is no Secret of that name, NoKey if it has
// other keys only.
func (v view) namedSecret(name, key string) (secretKind, secret.Bytes, outcome, error) {
	at := secretName(name, key)
	kind, s, err := v.loadSecret(at)
	if err != nil || kind != 0 {
		return kind, s, outcome{}, err
	}
	o := refuse(kairos.NoSecret, "")
	prefix := at[:33]
	v.Scan(tableSecrets, prefix, func(other []byte) bool {
		if bytes.HasPrefix(other, prefix) {
			o = refuse(kairos.NoKey, key)
		}
		return false
	})
	return 0, secret.Bytes{}, o, nil
}

// loadSecret: kind zero means that there is none.
func (v view) loadSecret(key []byte) (secretKind, secret.Bytes, error) {
	plain, found, err := v.Get(tableSecrets, key)
	if err != nil || !found {
		return 0, secret.Bytes{}, err
	}
	if len(plain) < 2 || plain[0] < byte(kindStatic) || plain[0] > byte(kindSealed) {
		clear(plain)
		return 0, secret.Bytes{}, fmt.Errorf("reading a secret: %w", ledger.ErrUnverified)
	}
	return secretKind(plain[0]), secret.Own(plain[1:]), nil
}

// putSecret gives somebody something: a new epoch.
func (t *txn) putSecret(key []byte, kind secretKind, s secret.Bytes) error {
	t.Bump()
	plain := append([]byte{byte(kind)}, s.Reveal()...)
	defer clear(plain)
	return t.Put(tableSecrets, key, plain)
}

// newPassphrase is 256 random bits as 44 characters of base64, which
// is what their server generates.
func newPassphrase() secret.Bytes {
	raw := secret.Random(32)
	defer raw.Wipe()
	text := secret.Make(base64.StdEncoding.EncodedLen(raw.Len()))
	base64.StdEncoding.Encode(text.Reveal(), raw.Reveal())
	return text
}

package server

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/kairos"
)

// A kairosKind says where a passphrase is from. Records hold it.
type kairosKind byte

const (
	kairosStatic    kairosKind = iota + 1 // a Secret of the operator
	kairosGenerated                       // made here
	kairosSealed                          // made by the node, encrypted by its TPM: no passphrase
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

// kairosNode finds a node in whichever table it is.
func (v view) kairosNode(hash kms.NodeID) (kairosRow, bool, error) {
	for _, table := range []string{tableKairosNodes, tableKairosPending} {
		var row kairosRow
		found, err := v.load(table, hash[:], &row)
		if found || err != nil {
			return row, found, err
		}
	}
	return kairosRow{}, false, nil
}

// saveKairos also takes the row out of the table that it is no longer in.
func (t *txn) saveKairos(row kairosRow) error {
	if row.State == statePending {
		return t.save(tableKairosPending, row.Hash[:], row)
	}
	if err := t.remove(tableKairosPending, row.Hash[:]); err != nil {
		return err
	}
	return t.save(tableKairosNodes, row.Hash[:], row)
}

// spendAK takes an attestation key once: their quotes carry no nonce, and
// their client makes a key for each connection.
func (t *txn) spendAK(row *kairosRow, ak [32]byte) (kairos.Reason, error) {
	key := kairosAK(row.Hash, ak)
	if t.Get(tableKairosAKs, key) != nil {
		return kairos.Replayed, nil
	}
	if row.AKs >= maxAKs {
		return kairos.TooManyKeys, nil
	}
	row.AKs++
	return 0, t.write(place{tableKairosAKs, key, stateRow}, nil)
}

// kairosAnswer finds a partition's passphrase, or makes one if the
// partition has none yet and the operator named none.
func (t *txn) kairosAnswer(row *kairosRow, part *kairosPartition, legacy bool) (outcome, error) {
	kind, s, o, err := t.kairosSecret(row, part)
	if err != nil || o.refusal != nil && o.refusal.Reason != kairos.NoSecret {
		return o, err
	}

	switch {
	case kind == kairosSealed && !legacy:
		return refuse(kairos.TPMSealed, ""), nil // it opens nothing as it is
	case kind != 0:
		return outcome{answer: &kairos.Answer{Passphrase: s, Sealed: kind == kairosSealed}}, nil
	case legacy:
		return o, nil // the node makes one, and posts it
	}

	s = newKairosPassphrase()
	if err := t.putKairosSecret(ownSecret(row.Hash, part.ID), kairosGenerated, s); err != nil {
		s.Wipe()
		return outcome{}, err
	}

	return outcome{answer: &kairos.Answer{Passphrase: s}}, nil
}

// kairosDeposit keeps a sealed passphrase where there is nothing yet.
func (t *txn) kairosDeposit(row *kairosRow, part *kairosPartition, sealed []byte) (outcome, error) {
	kind, s, o, err := t.kairosSecret(row, part)
	s.Wipe()
	if err != nil || o.refusal != nil && o.refusal.Reason != kairos.NoSecret {
		return o, err
	}
	if kind != 0 {
		return refuse(kairos.Kept, ""), nil
	}
	text := base64.RawURLEncoding.AppendEncode(nil, sealed)
	return outcome{answer: &kairos.Answer{}}, t.putKairosSecret(ownSecret(row.Hash, part.ID), kairosSealed, secret.Own(text))
}

// kairosSecret: the Secret that a document names, else the node's own, else
// the one of the default name. Names are built from documents only, never
// from what a node said.
func (v view) kairosSecret(row *kairosRow, part *kairosPartition) (kairosKind, secret.Bytes, outcome, error) {
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

	kind, s, err := v.loadKairosSecret(ownSecret(row.Hash, part.ID))
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
func (v view) namedSecret(name, key string) (kairosKind, secret.Bytes, outcome, error) {
	at := secretName(name, key)
	kind, s, err := v.loadKairosSecret(at)
	if err != nil || kind != 0 {
		return kind, s, outcome{}, err
	}
	o := refuse(kairos.NoSecret, "")
	prefix := at[:33]
	v.Scan(tableKairosSecrets, prefix, func(other, _ []byte) bool {
		if bytes.HasPrefix(other, prefix) {
			o = refuse(kairos.NoKey, key)
		}
		return false
	})
	return 0, secret.Bytes{}, o, nil
}

// loadKairosSecret: kind zero means that there is none.
func (v view) loadKairosSecret(key []byte) (kairosKind, secret.Bytes, error) {
	sealed := v.Get(tableKairosSecrets, key)
	if sealed == nil {
		return 0, secret.Bytes{}, nil
	}
	plain, _, err := v.v.open(place{tableKairosSecrets, key, stateRow}, sealed)
	if err != nil {
		return 0, secret.Bytes{}, err
	}
	if len(plain) < 2 || plain[0] < byte(kairosStatic) || plain[0] > byte(kairosSealed) {
		clear(plain)
		return 0, secret.Bytes{}, fmt.Errorf("reading a secret: %w", ErrUnverified)
	}
	return kairosKind(plain[0]), secret.Own(plain[1:]), nil
}

// putKairosSecret gives somebody something: a new epoch.
func (t *txn) putKairosSecret(key []byte, kind kairosKind, s secret.Bytes) error {
	t.bump()
	plain := append([]byte{byte(kind)}, s.Reveal()...)
	defer clear(plain)
	return t.write(place{tableKairosSecrets, key, stateRow}, plain)
}

// newKairosPassphrase is 256 random bits as 44 characters of base64, which
// is what their server generates.
func newKairosPassphrase() secret.Bytes {
	raw := secret.Random(32)
	defer raw.Wipe()
	text := secret.Make(base64.StdEncoding.EncodedLen(raw.Len()))
	base64.StdEncoding.Encode(text.Reveal(), raw.Reveal())
	return text
}

package server

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/store"
)

// Tables of the database.
const (
	tableMeta    = "meta"    // wrapped data key; sealed: state, signing keys
	tableNodes   = "nodes"   // by node id: approved and deleted ones
	tablePending = "pending" // by node id: those that wait for the operator
	tableVolumes = "volumes" // by node id ‖ UUID; node zero: nobody's yet
	tableSecrets = "secrets" // by node id ‖ UUID ‖ state
	tableOwners  = "owners"  // by UUID: the node that it is bound to
	tableSpent   = "spent"   // by expiry ‖ th2, or key's id ‖ th2: challenges redeemed, plain
	tableCookies = "cookies" // keys that replicas close cookies with
	tableTokens  = "tokens"  // by SHA-256 of a bearer token of the administration
	tableAudit   = "audit"   // by sequence number: hash ‖ event, plain

	tableKairosNodes   = "kairos-nodes"   // by TPMHash: approved and deleted ones
	tableKairosPending = "kairos-pending" // by TPMHash: those that wait for the operator
	tableKairosSecrets = "kairos-secrets" // "o" ‖ TPMHash ‖ partition, or "n" ‖ hashes of a Secret's name and key
	tableKairosAKs     = "kairos-aks"     // by TPMHash ‖ attestation key: those seen before

	tableTalosNodes   = "talos-nodes"   // by UUID: approved and deleted ones
	tableTalosPending = "talos-pending" // by UUID: those that wait for the operator
	tableKeys         = "keys"          // by ring ‖ 0 ‖ version: keys that seal for others
)

// Tables lists what a store must have.
func Tables() []string {
	return []string{
		tableMeta, tableNodes, tablePending, tableVolumes, tableSecrets, tableOwners, tableSpent, tableAudit,
		tableKairosNodes, tableKairosPending, tableKairosSecrets, tableKairosAKs,
		tableTalosNodes, tableTalosPending, tableKeys, tableCookies, tableTokens,
	}
}

// LogTables are those of Tables that only grow and are read by key, or by
// the operator.
func LogTables() []string { return []string{tableAudit, tableKairosAKs} }

// PassingTables are those of Tables whose rows live for minutes: they are in
// no backup.
func PassingTables() []string { return []string{tableSpent, tableCookies} }

// CopyTables are those that a copy has, in the order to write them: without
// the last one's rows it is no KMS yet. To remove one, go backwards.
func CopyTables() []string {
	kept := slices.DeleteFunc(Tables(), func(t string) bool { return t == tableMeta || slices.Contains(PassingTables(), t) })
	return append(kept, tableMeta)
}

// sealedTables are those that the digest over all records covers.
var sealedTables = []string{
	tableNodes, tablePending, tableVolumes, tableSecrets, tableOwners,
	tableKairosNodes, tableKairosPending, tableKairosSecrets, tableKairosAKs,
	tableTalosNodes, tableTalosPending, tableKeys, tableTokens,
}

var keyState = []byte("state")

// state is what every transaction carries on: sealed, one record.
type state struct {
	epoch     uint64   // rises with every change of what is to be given to whom
	set       [32]byte // digest over all sealed records
	auditSeq  uint64
	auditHash [32]byte
}

func (s state) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.epoch)
	b = append(b, s.set[:]...)
	b = binary.BigEndian.AppendUint64(b, s.auditSeq)
	return append(b, s.auditHash[:]...)
}

func decodeState(b []byte) (s state, err error) {
	if len(b) != 80 {
		return s, fmt.Errorf("reading the state record: %w", ErrUnverified)
	}
	s.epoch = binary.BigEndian.Uint64(b)
	s.set = [32]byte(b[8:40])
	s.auditSeq = binary.BigEndian.Uint64(b[40:])
	s.auditHash = [32]byte(b[48:])
	return s, nil
}

// A view reads sealed records.
type view struct {
	store.Reader
	v *vault
}

// A txn reads and writes sealed records.
type txn struct {
	view
	tx     store.Tx
	state  state
	bumped bool
	still  bool    // what is written now gives nobody anything
	noted  []Event // told to who listens, once the transaction is on disk
}

// read runs f on one consistent state.
func (s *Server) read(f func(view) error) error {
	return s.store.View(func(r store.Reader) error { return f(view{r, s.vault}) })
}

// update runs f in a transaction that also carries the state on, and
// returns once it is on stable storage. When what is given to whom has
// changed, the epoch's high-water mark follows.
func (s *Server) update(ctx context.Context, f func(*txn) error) error {
	var last *txn
	began := time.Now()
	var decided error // by f, which is no failure of the store
	err := s.store.Update(ctx, func(tx store.Tx) error {
		t := &txn{view: view{tx, s.vault}, tx: tx}
		last, decided = t, nil
		if err := t.loadState(); err != nil {
			return err
		}
		if decided = f(t); decided != nil {
			return decided
		}
		return tx.Put(tableMeta, keyState, s.vault.seal(place{tableMeta, keyState, stateRow}, t.state.epoch, t.state.encode()))
	})
	if decided == nil && ctx.Err() == nil {
		s.wrote(err)
		s.measured.writes.Observe(time.Since(began).Seconds())
	}
	if err == nil {
		s.news.tell(last.noted)
	}
	if err == nil && last.bumped {
		err = s.raiseMark(last.state.epoch)
	}

	return err
}

func (v view) readState() (state, error) {
	plain, epoch, err := v.v.open(place{tableMeta, keyState, stateRow}, v.Get(tableMeta, keyState))
	if err != nil {
		return state{}, err
	}
	st, err := decodeState(plain)
	if err == nil && st.epoch != epoch {
		err = fmt.Errorf("reading the state record: %w", ErrUnverified)
	}
	return st, err
}

func (t *txn) loadState() (err error) {
	t.state, err = t.readState()
	return err
}

// bump starts a new epoch, once for a transaction.
func (t *txn) bump() {
	if !t.bumped && !t.still {
		t.state.epoch++
		t.bumped = true
	}
}

// load reads a row into to; false means that there is none.
func (v view) load(table string, key []byte, to any) (bool, error) {
	sealed := v.Get(table, key)
	if sealed == nil {
		return false, nil
	}
	plain, _, err := v.v.open(place{table, key, stateRow}, sealed)
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(plain, to); err != nil {
		return false, fmt.Errorf("reading a record of %s: %w: %w", table, ErrUnverified, err)
	}
	return true, nil
}

func (t *txn) save(table string, key []byte, row any) error {
	plain, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encoding a record of %s: %w", table, err)
	}
	return t.write(place{table, key, stateRow}, plain)
}

func (t *txn) write(p place, plain []byte) error {
	sealed := t.v.seal(p, t.state.epoch, plain)
	t.uncount(p.table, p.key)
	xor(&t.state.set, t.v.digest(p.table, p.key, sealed))
	return t.tx.Put(p.table, p.key, sealed)
}

func (t *txn) remove(table string, key []byte) error {
	t.uncount(table, key)
	return t.tx.Delete(table, key)
}

// uncount takes the record that stands there out of the digest.
func (t *txn) uncount(table string, key []byte) {
	if old := t.Get(table, key); old != nil {
		xor(&t.state.set, t.v.digest(table, key, old))
	}
}

func xor(to *[32]byte, with [32]byte) {
	for i := range to {
		to[i] ^= with[i]
	}
}

// loadSecret reads a secret; kind zero means that there is none.
func (v view) loadSecret(key []byte, state byte) (kind byte, s secret.Bytes, err error) {
	full := secretKey(key, state)
	sealed := v.Get(tableSecrets, full)
	if sealed == nil {
		return 0, secret.Bytes{}, nil
	}
	plain, _, err := v.v.open(place{tableSecrets, full, state}, sealed)
	if err != nil {
		return 0, secret.Bytes{}, err
	}
	if len(plain) < 2 {
		return 0, secret.Bytes{}, fmt.Errorf("reading a secret: %w", ErrUnverified)
	}
	return plain[0], secret.Own(plain[1:]), nil
}

func (t *txn) saveSecret(key []byte, state, kind byte, s secret.Bytes) error {
	plain := append([]byte{kind}, s.Reveal()...)
	defer clear(plain)
	full := secretKey(key, state)
	return t.write(place{tableSecrets, full, state}, plain)
}

func secretKey(key []byte, state byte) []byte { return append(append([]byte(nil), key...), state) }

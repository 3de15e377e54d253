// Package rulebook keeps the policy in the store, so that all key servers on
// it judge by the same: in editions, each with who applied it. Without one
// the policy of each server's configuration file holds.
package rulebook

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/internal/strictyaml"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// table has editions by their number, 4 bytes, and below current the number
// of the one that holds.
var table = ledger.NewTableSince("policy", ledger.Sealed, ledger.FormatPeople)

// current is where the number of the edition that holds stands: 4 bytes,
// big-endian. It is read with every decision.
var current = []byte("current")

// Tables are those to register.
func Tables() []*ledger.Table { return []*ledger.Table{table} }

// An Edition is one text of the policy.
type Edition struct {
	Number uint32            `json:"number"`
	Text   string            `json:"text,omitempty"`    // the section "policy" of a configuration file, with the key before it
	Files  map[string][]byte `json:"files,omitempty"`   // that it names, by path
	ToFile bool              `json:"to_file,omitempty"` // the configuration file of each server holds again
	Of     uint32            `json:"of,omitempty"`      // the edition that it brought back; 0: none
	Who    string            `json:"who"`               // as the audit log has it
	At     time.Time         `json:"at"`
}

// MaxBytes bounds the text and the files of an edition together: a row of
// every store may be so large, in JSON.
const MaxBytes = 512 << 10

// maxEditions is how many are kept.
const maxEditions = 100

// size is that of the text and the files, in bytes.
func (e Edition) size() (n int) {
	n = len(e.Text)
	for path, file := range e.Files {
		n += len(path) + len(file)
	}
	return n
}

// Rules reads an edition.
func (e Edition) Rules() (*policy.Policy, error) {
	if n := e.size(); n > MaxBytes {
		return nil, fmt.Errorf("the policy with the files that it names has %d bytes, %d at most", n, MaxBytes)
	}
	var c struct {
		Policy policy.Config `yaml:"policy"`
	}
	if err := strictyaml.Decode("policy", []byte(e.Text), &c, strictyaml.Lines{}); err != nil {
		return nil, err
	}
	return c.Policy.Policy(func(path string) ([]byte, error) {
		file, ok := e.Files[path]
		if !ok {
			return nil, fmt.Errorf("%s did not come with it", path)
		}
		return file, nil
	})
}

// A Book is the policy that holds at one server.
type Book struct {
	file atomic.Pointer[policy.Policy]
	held atomic.Pointer[held]
	turn sync.Mutex // of reading an edition
}

// held is the edition that was read last.
type held struct {
	number uint32
	rules  *policy.Policy // nil: the file's
}

// New makes a book by a configuration file; nil: every approved node, in the
// boot state that was approved.
func New(file *policy.Policy) *Book {
	b := &Book{}
	b.held.Store(&held{})
	b.SetFile(file)
	return b
}

// SetFile takes another file's policy.
func (b *Book) SetFile(p *policy.Policy) {
	if p == nil {
		p = &policy.Policy{}
	}
	b.file.Store(p)
}

// Rules is the policy that holds, as far as this server has read.
func (b *Book) Rules() *policy.Policy {
	if h := b.held.Load(); h.rules != nil {
		return h.rules
	}
	return b.file.Load()
}

// Edition is the number of the edition that Rules are of; zero: the file's.
func (b *Book) Edition() uint32 {
	if h := b.held.Load(); h.rules != nil {
		return h.number
	}
	return 0
}

// Follow takes the edition that a view has, before something is judged in it.
// One that this program cannot read is an error: nothing is decided by an
// earlier one.
func (b *Book) Follow(v ledger.View) error {
	number, err := newest(v)
	if err != nil || !b.later(number) {
		return err
	}
	b.turn.Lock()
	defer b.turn.Unlock()
	if !b.later(number) {
		return nil
	}
	e, err := load(v, number)
	if err != nil {
		return err
	}
	h := &held{number: number}
	if !e.ToFile {
		if h.rules, err = e.Rules(); err != nil {
			return fmt.Errorf("reading edition %d of the policy: %w: apply another (latchkey-kms policy apply)", number, err)
		}
	}
	b.held.Store(h)
	return nil
}

// later tells whether an edition is later than the one at hand: an older view
// does not bring back what was replaced.
func (b *Book) later(number uint32) bool { return number > b.held.Load().number }

// newest is the number of the edition that holds; zero: there was never one.
func newest(v ledger.View) (uint32, error) {
	plain, found, err := v.Get(table, current)
	if err != nil || !found {
		return 0, err
	}
	if len(plain) != 4 {
		return 0, fmt.Errorf("reading the policy: %w", ledger.ErrUnverified)
	}
	return binary.BigEndian.Uint32(plain), nil
}

func key(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

func load(v ledger.View, number uint32) (e Edition, err error) {
	found, err := v.Load(table, key(number), &e)
	if err == nil && !found {
		err = fmt.Errorf("edition %d of the policy: %w", number, ledger.ErrNotFound)
	}
	return e, err
}

// editions are those that are kept, the first first.
func editions(v ledger.View) (all []Edition, err error) {
	v.Scan(table, nil, func(at []byte) bool {
		if len(at) != 4 {
			return true
		}
		var e Edition
		if e, err = load(v, binary.BigEndian.Uint32(at)); err == nil {
			all = append(all, e)
		}
		return err == nil
	})
	return all, err
}

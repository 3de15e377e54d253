package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"latchkey/internal/secret"
)

// D34: of two records of the data keys, which may follow the other.
func TestKeyRowFollows(t *testing.T) {
	wrapped := bytes.Repeat([]byte{9}, firstRow)
	key := func(id uint32, print string) wrappedKey { return wrappedKey{ID: id, Print: print, Wrapped: wrapped} }
	first, one := keyRow{1, []wrappedKey{key(1, "")}}, keyRow{1, []wrappedKey{key(1, "a")}}
	added, used, two := keyRow{1, []wrappedKey{key(1, "a"), key(2, "b")}}, keyRow{2, []wrappedKey{key(1, "a"), key(2, "b")}}, keyRow{2, []wrappedKey{key(2, "b")}}
	for _, row := range []struct {
		name          string
		before, after keyRow
		may           bool
	}{
		{"the upgrade", first, one, true},
		{"a key is added", one, added, true},
		{"it seals", added, used, true},
		{"the old one goes", used, two, true},
		{"steps at once", one, two, true},
		{"another wrapping key", used, used, true},
		{"the next one", two, keyRow{2, []wrappedKey{key(2, "b"), key(3, "c")}}, true},
		{"it does not seal any more", used, added, false},
		{"the old one comes back", two, used, false},
		{"the old one alone", two, one, false},
		{"no ids any more", one, first, false},
		{"another key of the same id", used, keyRow{2, []wrappedKey{key(1, "a"), key(2, "x")}}, false},
		{"an id is given again", two, keyRow{2, []wrappedKey{key(1, "x"), key(2, "b")}}, false},
	} {
		if got := row.after.follows(row.before); got != row.may {
			t.Errorf("%s: follows = %t, want %t", row.name, got, row.may)
		}
		back, err := readKeyRow(row.after.encode())
		if err != nil || len(back.Keys) != len(row.after.Keys) || back.Sealing != row.after.Sealing {
			t.Errorf("%s: readKeyRow(encode) = %+v, %v, want %+v", row.name, back, err, row.after)
		}
	}
}

// What is no record of data keys is refused.
func TestReadKeyRow(t *testing.T) {
	for _, text := range []string{
		"", "{", `{}`, `{"sealing":1,"keys":[]}`, `{"sealing":2,"keys":[{"id":1,"print":"ab","wrapped":"AAAA"}]}`,
		`{"sealing":1,"keys":[{"id":1,"print":"ab","wrapped":"AAAA"}]}`, string(make([]byte, firstRow-1)), string(make([]byte, firstRow+1)),
	} {
		if r, err := readKeyRow([]byte(text)); !errors.Is(err, ErrUnverified) {
			t.Errorf("readKeyRow(%q) = %+v, %v, want %v", text, r, err, ErrUnverified)
		}
	}
}

// E3: a record's key, epoch and state are part of its seal.
func TestKeyIsBound(t *testing.T) {
	var c keychain
	key := secret.Random(32)
	for id := range uint32(2) {
		if err := c.add(id+1, key); err != nil { // the same twice, so that only the id differs
			t.Fatal(err)
		}
	}
	w := func(id uint32) wrappedKey {
		return wrappedKey{ID: id, Print: printOf(key), Wrapped: make([]byte, firstRow)}
	}
	v := c.at(keyRow{1, []wrappedKey{w(1), w(2)}}.encode())
	p := place{"a", []byte("k"), 0}
	sealed := v.seal(p, 7, []byte("text"))
	if plain, epoch, err := v.open(p, sealed); err != nil || string(plain) != "text" || epoch != 7 {
		t.Fatalf("open = %q, %d, %v", plain, epoch, err)
	}
	other := bytes.Clone(sealed)
	binary.BigEndian.PutUint32(other[1:], 2)
	if _, _, err := v.open(p, other); !errors.Is(err, ErrUnverified) {
		t.Errorf("open of a record that names another key = %v, want %v", err, ErrUnverified)
	}
	binary.BigEndian.PutUint32(other[1:], 3)
	if _, _, err := v.open(p, other); !errors.Is(err, ErrUnverified) {
		t.Errorf("open of a record that names no key = %v, want %v", err, ErrUnverified)
	}
	for i := range sealed {
		other := bytes.Clone(sealed)
		other[i] ^= 1
		if _, _, err := v.open(p, other); err == nil {
			t.Errorf("a record with byte %d changed opens", i)
		}
	}
}

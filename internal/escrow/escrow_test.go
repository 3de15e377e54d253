package escrow_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"latchkey/internal/escrow"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/backup"
)

const typed = "cbde-fghi"

func key() escrow.Key {
	return escrow.Key{Volume: kms.UUID{1}, Machine: kms.NodeID{2}, Keyslot: 3, Made: time.Date(2026, 11, 29, 1, 0, 0, 0, time.UTC), Text: secret.Own([]byte(typed))}
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// What is sealed is opened by whoever it is sealed to, as text too, and by
// nobody else.
func TestSeal(t *testing.T) {
	mine, yours, other := identity(t), identity(t), identity(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		to []age.Recipient
		by []age.Identity
	}{
		"one of two":   {[]age.Recipient{mine.Recipient(), yours.Recipient()}, []age.Identity{yours}},
		"post-quantum": {[]age.Recipient{hybrid.Recipient()}, []age.Identity{hybrid}},
	} {
		sealed, err := escrow.Seal(key(), row.to)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sealed, []byte(typed)) {
			t.Errorf("%s: the key can be read", name)
		}
		armored, err := escrow.Armor(sealed)
		if err != nil || !strings.HasSuffix(armored, "-----\n") {
			t.Fatalf("%s: armored %q, %v", name, armored, err)
		}
		for _, text := range [][]byte{sealed, []byte(armored)} {
			k, err := escrow.Open(bytes.NewReader(text), row.by)
			if want := key(); err != nil || k.Volume != want.Volume || k.Machine != want.Machine || k.Keyslot != 3 || !k.Made.Equal(want.Made) || string(k.Text.Reveal()) != typed {
				t.Errorf("%s: Open = %+v, %v", name, k, err)
			}
		}
		for _, by := range [][]age.Identity{nil, {other}} {
			if _, err := escrow.Open(bytes.NewReader(sealed), by); !errors.Is(err, backup.ErrIdentity) {
				t.Errorf("%s: Open by %d others = %v, want %v", name, len(by), err, backup.ErrIdentity)
			}
		}
		sealed[len(sealed)-1] ^= 1
		if _, err := escrow.Open(bytes.NewReader(sealed), row.by); err == nil {
			t.Errorf("%s: a changed one opens", name)
		}
	}
}

// A backup, say, that the same people open is no recovery key.
func TestOpenOthers(t *testing.T) {
	id := identity(t)
	for _, plain := range []string{"", "a database", `{"what":"latchkey recovery key 2","key":"eA=="}`, `{"what":"latchkey recovery key 1"}`} {
		var sealed bytes.Buffer
		w, err := age.Encrypt(&sealed, id.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(plain))
		w.Close()
		if _, err := escrow.Open(&sealed, []age.Identity{id}); !errors.Is(err, escrow.ErrNotOurs) {
			t.Errorf("Open of %q = %v, want %v", plain, err, escrow.ErrNotOurs)
		}
	}
}

// Recipients that cannot be, and more than fit.
func TestRecipients(t *testing.T) {
	id := identity(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	one := id.Recipient().String()
	if to, err := escrow.Recipients([]string{one, one}); err != nil || len(to) != 2 {
		t.Errorf("Recipients = %d, %v", len(to), err)
	}
	for name, texts := range map[string][]string{
		"an identity": {id.String()},
		"nine":        {one, one, one, one, one, one, one, one, one},
		"mixed":       {one, hybrid.Recipient().String()},
	} {
		if _, err := escrow.Recipients(texts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := escrow.Seal(key(), nil); err == nil {
		t.Error("sealed to nobody")
	}
}

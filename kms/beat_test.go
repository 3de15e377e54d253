package kms_test

import (
	"bytes"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// FuzzBeats: what is taken encodes to the very same bytes.
func FuzzBeats(f *testing.F) {
	f.Add((&kms.Beat{Ticket: fill(1, 120)}).Encode())
	f.Add(kms.BeatKey{Public: fill(1, 90), Attest: fill(2, 150), Signature: fill(3, 72)}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := kms.ParseBeat(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Error("a beat has two encodings")
		}
		if k, err := kms.ParseBeatKey(b); err == nil && !bytes.Equal(k.Encode(), b) {
			t.Error("a key of beats has two encodings")
		}
	})
}

// Beats that cannot be one.
func TestBeatsAreBounded(t *testing.T) {
	good := (&kms.Beat{Ticket: fill(1, 125)}).Encode()
	for name, b := range map[string][]byte{
		"another version":   append([]byte{0, 1, 2}, good[3:]...),
		"a long ticket":     (&kms.Beat{Ticket: fill(1, kms.MaxTicket+1)}).Encode(),
		"bytes behind it":   append(bytes.Clone(good), 0),
		"a short signature": good[:len(good)-1],
	} {
		if _, err := kms.ParseBeat(b); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := kms.ParseBeat(good); err != nil {
		t.Errorf("ParseBeat = %v", err)
	}
}

// An answer is to one beat, with one ticket, by one key.
func TestAnswerIsToOneBeat(t *testing.T) {
	key, other := secret.Own(fill(1, 16)), secret.Own(fill(2, 16))
	first := kms.NewBeatAnswer(key, fill(3, 190), fill(4, 125))
	for name, a := range map[string]*kms.BeatAnswer{
		"another key":    kms.NewBeatAnswer(other, fill(3, 190), fill(4, 125)),
		"another beat":   kms.NewBeatAnswer(key, fill(5, 190), fill(4, 125)),
		"another ticket": kms.NewBeatAnswer(key, fill(3, 190), fill(6, 125)),
		"another border": kms.NewBeatAnswer(key, append(fill(3, 190), 4), fill(5, 124)),
	} {
		if a.MAC == first.MAC {
			t.Errorf("%s has the same MAC", name)
		}
	}
}

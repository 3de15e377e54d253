package secret_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"latchkey/internal/secret"
)

func TestNeverPrints(t *testing.T) {
	s := secret.Own([]byte("canary-passphrase"))
	type wrap struct{ Key secret.Bytes }
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", s, "wrapped", wrap{s})

	for _, out := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %x %q %d", s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", wrap{s}, wrap{s}, wrap{s}), log.String(),
	} {
		for _, form := range []string{"canary", fmt.Sprintf("%x", "canary"), "99 97 110"} {
			if strings.Contains(out, form) {
				t.Errorf("output %q contains the secret as %q", out, form)
			}
		}
	}

	if _, err := json.Marshal(wrap{s}); !errors.Is(err, secret.ErrMarshal) {
		t.Errorf("json.Marshal = %v, want %v", err, secret.ErrMarshal)
	}
}

func TestWipeReachesCopies(t *testing.T) {
	s := secret.Random(32)
	c, kept := s, s.Clone()
	s.Wipe()
	if !c.Equal(secret.Make(32)) {
		t.Error("a copy kept its bytes after Wipe")
	}
	if kept.Equal(c) {
		t.Error("a clone was wiped")
	}
}

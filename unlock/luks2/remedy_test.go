package luks2_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/unlock/luks2"
)

// A refused cipher, key size, KDF or hash says why and what to do.
func TestRemedies(t *testing.T) {
	said := 0
	for _, tt := range allRows() {
		h, err := read(tt.disk(t))
		refused, ok := errors.AsType[*luks2.Rejected](err)
		if err == nil && len(h.Skipped()) > 0 {
			refused, ok = h.Skipped()[0].Reason, true
		}
		if !ok {
			continue
		}
		text, family := refused.Remedy(), strings.SplitN(refused.Code(), "-", 2)
		_, of, _ := strings.Cut(refused.Code(), "-")
		due := family[0] == "kdf" || of == "cipher" || of == "key-size" || of == "af" || of == "hash" || of == "type" || of == "iterations"
		if due && !strings.Contains(text, "DEVICE") {
			t.Errorf("%s: the remedy of %v is %q, want a command", tt.name, refused, text)
		}
		if due {
			said++
		}
	}
	if said < 20 {
		t.Errorf("%d rows have a remedy, want at least 20", said)
	}
}

// mends runs the commands of cryptsetup that a remedy names, as a person
// would: one after another, for the keyslot that is refused, with choices
// that make tests fast.
func mends(t *testing.T, remedy, device string) {
	t.Helper()
	_, todo, _ := strings.Cut(remedy, "; ")
	fields, ran := strings.Fields(strings.ReplaceAll(todo, ",", " ,")), 0
	for i, word := range fields {
		if word != "cryptsetup" {
			continue
		}
		args := []string{"--batch-mode", "--key-file", "-"}
		for _, arg := range fields[i+1:] {
			switch arg {
			case "N":
				arg = keyslotOf(t, device)
			case "argon2id":
				args, arg = append(args, "pbkdf2"), "--pbkdf-force-iterations=1000"
			case "reencrypt":
				args = append(args, "--force-offline-reencrypt", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000")
			case "DEVICE":
				arg = device
			}
			if args = append(args, arg); arg == device {
				break
			}
		}
		cryptsetup(t, passphrase, args...)
		ran++
	}
	if ran == 0 {
		t.Errorf("the remedy %q has no command of cryptsetup", remedy)
	}
}

// keyslotOf is the number of the one keyslot: a reencryption gives it another.
func keyslotOf(t *testing.T, device string) string {
	t.Helper()
	for name := range dumpJSON(t, device)["keyslots"] {
		return name
	}
	return "none"
}

// What the remedy names makes a volume of cryptsetup's that is refused one
// that is opened.
func TestRemediesMend(t *testing.T) {
	for _, row := range []struct {
		name   string
		format []string
		more   [][]string
		code   string
	}{
		{"a cipher", []string{"--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"}, nil, "segment-cipher"},
		{"a hash", []string{"--hash", "sha1"}, nil, "digest-hash"},
		{"the KDF of a keyslot", nil, [][]string{{"luksConvertKey", "-q", "--key-file", "KEY", "--key-slot", "0", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--hash", "sha1", "DISK"}}, "keyslot-af"},
		{"the cipher of a keyslot", nil, [][]string{{"luksConvertKey", "-q", "--key-file", "KEY", "--key-slot", "0", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "256", "DISK"}}, "keyslot-cipher"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := made{row.name, append([]string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--offset", "8192"}, row.format...), row.more, "", nil}.make(t)
			h, err := read(load(t, path))
			refused, ok := errors.AsType[*luks2.Rejected](err)
			if err == nil && len(h.Skipped()) > 0 {
				refused, ok = h.Skipped()[0].Reason, true
			}
			if !ok || refused.Code() != row.code {
				t.Fatalf("Read = %v, want %s", err, row.code)
			}

			mends(t, refused.Remedy(), path)
			h, err = read(load(t, path))
			if err != nil || len(h.Skipped()) > 0 || len(h.Keyslots()) != 1 {
				t.Errorf("after %q: Read = %v, skipped %v", refused.Remedy(), err, h.Skipped())
			}
		})
	}
}

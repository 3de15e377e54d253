package main

import (
	"bytes"
	"fmt"
	"os"

	"latchkey/internal/cli"
)

// A signingKey signs what this machine's firmware, or shim, starts.
type signingKey struct{ of, key, certificate string }

// signingKeys are where the tools of the field keep theirs: sbctl(8), Ubuntu's
// update-secureboot-policy, and dkms(8).
var signingKeys = []signingKey{
	{"sbctl", "/var/lib/sbctl/keys/db/db.key", "/var/lib/sbctl/keys/db/db.pem"},
	{"sbctl", "/usr/share/secureboot/keys/db/db.key", "/usr/share/secureboot/keys/db/db.pem"},
	{"shim (MOK)", "/var/lib/shim-signed/mok/MOK.priv", "/var/lib/shim-signed/mok/MOK.pem"},
	{"shim (MOK)", "/var/lib/shim-signed/mok/MOK.priv", "/var/lib/shim-signed/mok/MOK.der"},
	{"DKMS (MOK)", "/var/lib/dkms/mok.key", "/var/lib/dkms/mok.pub"},
}

// usable tells whether hooks can sign with a key: nobody types a passphrase
// for it.
func (signingKey) usable(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && !bytes.Contains(text, []byte("ENCRYPTED"))
}

// askSign offers to sign with the keys that are here.
func (o *setup) askSign(m *machine) error {
	switch {
	case o.Boot != wayUKI:
		return nil
	case m.keys.key == "" && o.Sign == "yes":
		return cli.Usagef("sign yes: there is no key of sbctl, shim or DKMS here that needs no passphrase: name yours as boot-key and boot-cert in latchkey.yaml (docs/install.md)")
	case m.keys.key == "" || o.Sign != "":
		return nil
	}
	return o.asked(fmt.Sprintf("6. Sign it for Secure Boot with the key of %s, %s? (yes, no)", m.keys.of, m.keys.key), "sign", "yes", func(text string) error {
		o.Sign = text
		return o.judgeWords()
	})
}

package boot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// extra is where systemd-stub puts what it finds in the image and beside it,
// as archives of its own behind the initramfs (systemd-stub(7)).
const extra = "/.extra"

// credstore is where services of the real root look for encrypted
// credentials by their names (systemd.exec(5), LoadCredentialEncrypted=).
const credstore = "/run/credstore.encrypted"

// maxExtra caps one file of the stub's, in bytes: systemd's limit for an
// encrypted credential is about this, too.
const maxExtra = 1 << 20

// takeExtra gives the real root what systemd's own initrd would, as far as
// the image's signature covers it or the plan allows it, and says what is
// left. The init itself uses nothing of it. What goes wrong is said, and
// stops no boot: the KMS sees in PCR 12 what was added.
func (b *pid1) takeExtra() {
	b.takeSigned()

	var used, ignored []string
	for _, dir := range []string{"credentials", "global_credentials"} { // the image's own first
		for _, file := range b.list(path.Join(extra, dir)) {
			name, ok := cutCred(file)
			if !ok || !b.plan.Stub.Allows(name) || slices.Contains(used, name) {
				ignored = append(ignored, file)
				continue
			}
			if err := b.pass(path.Join(extra, dir, file), path.Join(credstore, name), 0o600); err != nil {
				b.sys.Log(Human, fmt.Sprintf("credential %s of the boot partition: %v", file, err))
				continue
			}
			used = append(used, name)
		}
	}

	var extensions []string
	for _, dir := range []string{"sysext", "global_sysext", "confext", "global_confext"} {
		extensions = append(extensions, b.list(path.Join(extra, dir))...)
	}

	b.nameExtra("credentials of the boot partition, passed on to the real root", used)
	b.nameExtra("credentials of the boot partition, not used (stub.credentials in latchkey.yaml allows them by name)", ignored)
	b.nameExtra("extensions of the boot partition, not used (the real root reads its own)", extensions)
}

// takeSigned passes on what is in the image itself, to where tmpfiles.d of
// systemd's initrd puts it (20-systemd-stub.conf).
func (b *pid1) takeSigned() {
	for _, f := range []struct{ from, to string }{
		{"tpm2-pcr-signature.json", "/run/systemd/tpm2-pcr-signature.json"},
		{"tpm2-pcr-public-key.pem", "/run/systemd/tpm2-pcr-public-key.pem"},
		{"os-release", "/run/systemd/stub/os-release"},
		{"profile", "/run/systemd/stub/profile"},
	} {
		if err := b.pass(path.Join(extra, f.from), f.to, 0o444); err != nil && !errors.Is(err, os.ErrNotExist) {
			b.sys.Log(Human, fmt.Sprintf("%s of the image: %v", f.from, err))
		}
	}
}

// pass copies one file of the stub's into /run, which the real root gets.
func (b *pid1) pass(from, to string, perm os.FileMode) error {
	data, err := b.sys.ReadFile(from)
	if err != nil {
		return err
	}
	if len(data) > maxExtra {
		return fmt.Errorf("it has %d bytes, more than %d: not used", len(data), maxExtra)
	}
	if err := b.sys.Mkdir(path.Dir(to)); err != nil {
		return err
	}
	return b.sys.WriteFile(to, data, perm)
}

// list is the files of a folder of the stub's, none if there is none.
func (b *pid1) list(dir string) []string {
	names, err := b.sys.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.sys.Log(Human, fmt.Sprintf("reading %s: %v", dir, err))
	}
	return names
}

// cutCred is a credential's name: the stub takes .cred in any case, as FAT
// does.
func cutCred(file string) (name string, ok bool) {
	const suffix = ".cred"
	at := len(file) - len(suffix)
	if at < 1 || !strings.EqualFold(file[at:], suffix) {
		return "", false
	}
	return file[:at], true
}

// nameExtra says on one line what was found; nothing about nothing.
func (b *pid1) nameExtra(what string, names []string) {
	const most = 8
	if len(names) == 0 {
		return
	}
	list := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		list += fmt.Sprintf(" and %d more", len(names)-most)
	}
	b.sys.Log(Human, what+": "+list)
}

package dm

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"latchkey/internal/secret"
)

// withKey runs load while key is a logon key named name in this thread's
// keyring, where dm-crypt finds it (crypt_set_keyring_key in
// drivers/md/dm-crypt.c) and no other thread does. No program can read a
// logon key back: keyrings(7). All happens on one locked OS thread, because
// the Go scheduler would otherwise move us away from our keyring.
func withKey(name string, key secret.Bytes, load func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	id, err := unix.AddKey("logon", name, key.Reveal(), unix.KEY_SPEC_THREAD_KEYRING)
	if err != nil {
		return fmt.Errorf("adding the key to the thread keyring: %w", err)
	}

	err = load()
	// Revoking frees the payload, zeroed (user_revoke in
	// security/keys/user_defined.c); dm-crypt holds its own copy by now.
	_, revoke := unix.KeyctlInt(unix.KEYCTL_REVOKE, id, 0, 0, 0)
	_, unlink := unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_THREAD_KEYRING, 0, 0)
	if clean := errors.Join(revoke, unlink); clean != nil {
		return errors.Join(err, fmt.Errorf("revoking the key in the thread keyring: %w", clean))
	}

	return err
}

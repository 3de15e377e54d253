package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"latchkey/internal/datafile"
)

// ParseRecipient reads who can open backups: age1…, age1pq1…, or an SSH key.
func ParseRecipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, "AGE-SECRET-KEY-") {
		return nil, errors.New("this is an identity, which opens backups: it belongs where no server is; write down what \"age-keygen -y\" prints of it")
	}
	if strings.HasPrefix(text, "ssh-") {
		r, err := agessh.ParseRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("%.80q is no SSH key that age encrypts to (ssh-ed25519, ssh-rsa)", text)
		}
		return r, nil
	}
	all, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(all) != 1 {
		return nil, fmt.Errorf("%.80q is no recipient of age, as \"age-keygen\" prints it: age1…", text)
	}
	return all[0], nil
}

// CheckRecipients tells whether one file can be for all of them.
func CheckRecipients(to []age.Recipient) error {
	_, err := newSealing(to)
	return err
}

// maxIdentity bounds a file of identities, in bytes.
const maxIdentity = 1 << 20

// ReadIdentities reads a file of identities of age, or an SSH key.
func ReadIdentities(path string) ([]age.Identity, error) {
	text, err := datafile.Read(path, maxIdentity)
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	if bytes.HasPrefix(text, []byte("-----BEGIN")) {
		one, err := agessh.ParseIdentity(text)
		if err != nil {
			return nil, fmt.Errorf("reading the identity %s: %w", path, err)
		}
		return []age.Identity{one}, nil
	}
	all, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading the identity %s: %w", path, err)
	}
	return all, nil
}

// A sealing writes one backup. Beside its recipients it knows one more, for
// as long as it lives: by that it reads back what they will.
type sealing struct {
	to   []age.Recipient
	self age.Identity // nil: nothing is sealed
}

func newSealing(to []age.Recipient) (*sealing, error) {
	if len(to) == 0 {
		return &sealing{}, nil
	}
	var self age.Identity
	var me age.Recipient
	if _, hybrid := to[0].(*age.HybridRecipient); hybrid { // age mixes them with no others
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return nil, err
		}
		self, me = id, id.Recipient()
	} else {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, err
		}
		self, me = id, id.Recipient()
	}

	s := &sealing{append([]age.Recipient{me}, to...), self}
	if _, err := age.Encrypt(io.Discard, s.to...); err != nil {
		return nil, fmt.Errorf("these recipients cannot share a file: %w", err)
	}
	return s, nil
}

func (s *sealing) write(w io.Writer, plain io.Reader) error {
	if s.self == nil {
		_, err := io.Copy(w, plain)
		return err
	}
	sealed, err := age.Encrypt(w, s.to...)
	if err != nil {
		return err
	}
	if _, err := io.Copy(sealed, plain); err != nil {
		return err
	}
	return sealed.Close()
}

func (s *sealing) open(r io.Reader) (io.Reader, error) {
	if s.self == nil {
		return r, nil
	}
	return age.Decrypt(r, s.self)
}

// ErrIdentity is a backup that is sealed, for others than were named.
var ErrIdentity = errors.New("it is sealed with age")

// sealedStart is how a file of age begins.
const sealedStart = "age-encryption.org/v1\n"

// Open reads a backup, sealed or not.
func Open(r io.Reader, identities []age.Identity) (io.Reader, error) {
	b := bufio.NewReader(r)
	if begin, _ := b.Peek(len(sealedStart)); string(begin) != sealedStart {
		return b, nil
	}
	if len(identities) == 0 {
		return nil, fmt.Errorf("%w: name the file of an identity that opens it: --identity FILE", ErrIdentity)
	}
	plain, err := age.Decrypt(b, identities...)
	if _, none := errors.AsType[*age.NoIdentityMatchError](err); none {
		return nil, fmt.Errorf("%w, for other recipients than the identity's", ErrIdentity)
	}
	return plain, err
}

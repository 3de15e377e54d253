package tpm

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// A session authorizes the use of one sealed object and encrypts what comes
// out. It is salted to the object's parent, and used up by one command.
// Policy sessions of go-tpm 0.9.8 cut an authorization value at its first
// zero byte, not behind its last other one (Part 1, section 19.6.5), and one
// PIN in nine would be wrong.
type session struct {
	handle      tpm2.TPMHandle
	key         []byte // session key: Part 1, section 19.6.8
	auth        []byte // of the object, without zeros at its end
	nonceCaller []byte
	nonceTPM    []byte
}

// startSession starts a session of SHA-256 and AES-128.
func (c call) startSession(kind tpm2.TPMSE, salt key, auth []byte) (*session, error) {
	const what = "starting a session"
	kem, err := tpm2.ImportEncapsulationKey(&salt.public)
	if err != nil {
		return nil, &Error{what, CodeUnsupported, err}
	}
	plain, encrypted, err := tpm2.CreateEncryptedSalt(rand.Reader, kem)
	if err != nil {
		return nil, &Error{what, CodeFailed, err}
	}

	s := &session{auth: bytes.TrimRight(auth, "\x00"), nonceCaller: make([]byte, nonceSize)}
	if err := s.NewNonceCaller(); err != nil {
		return nil, err
	}
	rsp, err := run(c, what, tpm2.StartAuthSession{
		TPMKey: salt.handle, Bind: tpm2.TPMRHNull,
		NonceCaller: tpm2.TPM2BNonce{Buffer: s.nonceCaller}, EncryptedSalt: tpm2.TPM2BEncryptedSecret{Buffer: encrypted},
		SessionType: kind, AuthHash: tpm2.TPMAlgSHA256,
		Symmetric: tpm2.TPMTSymDef{
			Algorithm: tpm2.TPMAlgAES,
			KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
			Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
		},
	})
	if err != nil {
		return nil, err
	}

	s.handle, s.nonceTPM = rsp.SessionHandle, rsp.NonceTPM.Buffer
	s.key = tpm2.KDFa(crypto.SHA256, plain, "ATH", s.nonceTPM, s.nonceCaller, 8*sha256.Size)
	return s, nil
}

// Init implements tpm2.Session, whose methods go-tpm calls around a command.
func (s *session) Init(transport.TPM) error { return nil }

// CleanupFailure leaves the session to call.dropSessions.
func (s *session) CleanupFailure(transport.TPM) error { return nil }

// NonceTPM is the TPM's last nonce.
func (s *session) NonceTPM() tpm2.TPM2BNonce { return tpm2.TPM2BNonce{Buffer: s.nonceTPM} }

// NewNonceCaller makes our nonce anew.
func (s *session) NewNonceCaller() error {
	_, err := rand.Read(s.nonceCaller)
	return err
}

// encrypting is the session's one attribute, TPMA_SESSION_ENCRYPT: Part 2,
// section 8.4. Without continueSession the TPM ends it.
const encrypting = 1 << 6

// Authorize makes the command's HMAC: Part 1, section 19.6.5.
func (s *session) Authorize(cc tpm2.TPMCC, parameters, addNonces []byte, names []tpm2.TPM2BName, _ int) (*tpm2.TPMSAuthCommand, error) {
	hash := sha256.New()
	binary.Write(hash, binary.BigEndian, cc)
	for _, n := range names {
		hash.Write(n.Buffer)
	}
	hash.Write(parameters)
	return &tpm2.TPMSAuthCommand{
		Handle: s.handle, Nonce: tpm2.TPM2BNonce{Buffer: s.nonceCaller},
		Attributes:    tpm2.TPMASession{Encrypt: true},
		Authorization: tpm2.TPM2BData{Buffer: s.mac(hash.Sum(nil), s.nonceCaller, s.nonceTPM, addNonces, encrypting)},
	}, nil
}

// Validate checks the reply's HMAC.
func (s *session) Validate(rc tpm2.TPMRC, cc tpm2.TPMCC, parameters []byte, _ []tpm2.TPM2BName, _ int, reply *tpm2.TPMSAuthResponse) error {
	s.nonceTPM = reply.Nonce.Buffer
	hash := sha256.New()
	binary.Write(hash, binary.BigEndian, rc)
	binary.Write(hash, binary.BigEndian, cc)
	hash.Write(parameters)
	if reply.Attributes != (tpm2.TPMASession{Encrypt: true}) ||
		!hmac.Equal(s.mac(hash.Sum(nil), s.nonceTPM, s.nonceCaller, nil, encrypting), reply.Authorization.Buffer) {
		return errors.New("the reply's HMAC is wrong: it is not the TPM's that the session was salted to")
	}
	return nil
}

func (s *session) mac(hash, newer, older, addNonces []byte, attributes byte) []byte {
	mac := hmac.New(sha256.New, append(bytes.Clone(s.key), s.auth...))
	for _, b := range [][]byte{hash, newer, older, addNonces, {attributes}} {
		mac.Write(b)
	}
	return mac.Sum(nil)
}

// IsEncryption says that the TPM encrypts its reply.
func (s *session) IsEncryption() bool { return true }

// IsDecryption says that commands are not encrypted.
func (s *session) IsDecryption() bool { return false }

// Encrypt leaves commands as they are.
func (s *session) Encrypt([]byte) error { return nil }

// Decrypt decrypts the reply's first parameter in place: Part 1, section
// 21.3.
func (s *session) Decrypt(parameter []byte) error {
	kdf := tpm2.KDFa(crypto.SHA256, append(bytes.Clone(s.key), s.auth...), "CFB", s.nonceTPM, s.nonceCaller, 8*(16+aes.BlockSize))
	block, err := aes.NewCipher(kdf[:16])
	if err != nil {
		return err
	}
	//lint:ignore SA1019 it is what TPMs speak, and the HMAC authenticates it
	cipher.NewCFBDecrypter(block, kdf[16:]).XORKeyStream(parameter, parameter)
	return nil
}

// Handle is the session's.
func (s *session) Handle() tpm2.TPMHandle { return s.handle }

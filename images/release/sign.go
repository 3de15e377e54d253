package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"aead.dev/minisign"
)

// sign writes a signature beside a file: by a key of minisign, FILE.minisig,
// which minisign and signify know; by a P-256 key in PEM, FILE.sig, which
// cosign verify-blob and openssl know. A key of minisign may have a password,
// the first line of a file.
func sign(keyFile, passwordFile, file string) error {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}

	signature, name := []byte(nil), file+".minisig"
	switch block, _ := pem.Decode(key); {
	case block != nil:
		signature, err = signECDSA(block, text)
		name = file + ".sig"
	case strings.HasPrefix(string(key), "untrusted comment:"):
		signature, err = signMinisign(key, passwordFile, filepath.Base(file), text)
	default:
		err = errors.New("neither a secret key of minisign nor a P-256 key in PEM")
	}
	if err != nil {
		return fmt.Errorf("signing with %s: %w", keyFile, err)
	}
	return os.WriteFile(name, signature, 0o644)
}

// signECDSA signs as cosign does: SHA-256, ASN.1, base64.
func signECDSA(block *pem.Block, text []byte) ([]byte, error) {
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%q is no key that this opens: give a PRIVATE KEY without a password", block.Type)
	}
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("it is no P-256 key")
	}
	sum := sha256.Sum256(text)
	der, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
	return []byte(base64.StdEncoding.EncodeToString(der) + "\n"), err
}

// signMinisign signs as minisign does by default, over the BLAKE2b-512 of the
// file; the name that it vouches for is in the trusted comment.
func signMinisign(key []byte, passwordFile, name string, text []byte) ([]byte, error) {
	var private minisign.PrivateKey
	var err error
	if minisign.IsEncrypted(key) {
		if passwordFile == "" {
			return nil, errors.New("the key has a password: name the file that has it in RELEASE_KEY_PASSWORD_FILE")
		}
		password, readErr := os.ReadFile(passwordFile)
		if readErr != nil {
			return nil, readErr
		}
		line, _, _ := strings.Cut(string(password), "\n")
		private, err = minisign.DecryptKey(line, key)
	} else {
		err = private.UnmarshalText(key)
	}
	if err != nil {
		return nil, err
	}
	r := minisign.NewReader(bytes.NewReader(text))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return r.SignWithComments(private, "file:"+name, "signature of a latchkey release"), nil
}

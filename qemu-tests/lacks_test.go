package qemutests

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// lacks [-text] PATH KEYFILE…: no file in PATH holds any piece of 16 bytes
// of a key: raw, in hex, or in base64 at any alignment. "! lacks" is the
// proof that it looks: the key is there. With -text it may be there raw:
// the kernel has it in its ciphers.
func cmdLacks(ts *testscript.TestScript, neg bool, args []string) {
	text := len(args) > 0 && args[0] == "-text"
	if text {
		args = args[1:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: lacks [-text] FILE-OR-FOLDER KEYFILE…")
	}

	var found []string
	for _, keyFile := range args[1:] {
		key, err := os.ReadFile(ts.MkAbs(keyFile))
		ts.Check(err)
		pieces := shapes(key)
		if text {
			delete(pieces, "raw")
		}

		ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			form, err := findPieces(path, pieces)
			if form != "" {
				found = append(found, keyFile+" as "+form+" in "+path)
			}
			return err
		}))
	}
	if neg == (len(found) == 0) {
		ts.Fatalf("found: %q", found)
	}
}

// pieceBytes is how much of a secret is too much.
const pieceBytes = 16

// shapes are the pieces to look for, by what they are called.
func shapes(key []byte) map[string][][]byte {
	all := map[string][]byte{"raw": key, "hex": []byte(hex.EncodeToString(key)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(key)))}
	if raw, err := hex.DecodeString(string(key)); err == nil {
		all["the bytes of the hex"] = raw
	}
	for pad := range 3 {
		text := []byte(base64.StdEncoding.EncodeToString(append(make([]byte, pad), key...)))
		all["base64"+strings.Repeat("+", pad)] = text[4*((pad+2)/3) : len(text)-4] // without what others' bytes are mixed into
		all["base64url"+strings.Repeat("+", pad)] = []byte(strings.NewReplacer("+", "-", "/", "_").Replace(string(all["base64"+strings.Repeat("+", pad)])))
	}

	out := map[string][][]byte{}
	for name, b := range all {
		for i := 0; i+pieceBytes <= len(b); i += pieceBytes {
			out[name] = append(out[name], b[i:i+pieceBytes])
		}
	}

	return out
}

// findPieces looks through a file of any size.
func findPieces(path string, pieces map[string][][]byte) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	window, kept := make([]byte, 8<<20), 0
	for {
		n, err := io.ReadFull(f, window[kept:])
		part := window[:kept+n]
		for form, list := range pieces {
			for _, p := range list {
				if bytes.Contains(part, p) {
					return form, nil
				}
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return "", nil
		}
		if err != nil {
			return "", err
		}

		kept = copy(window, part[len(part)-pieceBytes+1:])
	}
}

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"latchkey/kms/wrapping"
)

// Each share is encrypted to its person and nobody else, and files that are
// there stay.
func TestSharesByAge(t *testing.T) {
	k, dir := newWrapped(t), t.TempDir()
	args := []string{"wrapping", "change", "--to-shares", "2/2", "--shares-dir", dir}
	var people []*age.X25519Identity
	for range 2 {
		one, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		people = append(people, one)
	}
	k.fails("there are 2 shares and 1 recipients", append(args, "--age", people[0].Recipient().String())...)
	k.fails("is no recipient of age", append(args, "--age", people[0].Recipient().String(), "--age", "age1nobody")...)
	k.fails("this is an identity", append(args, "--age", people[0].String()+","+people[1].String())...)
	k.fails("need --shares-dir", "wrapping", "change", "--to-shares", "2/2", "--age", people[0].Recipient().String(), "--age", people[1].Recipient().String())
	k.fails("handing out the shares", append(args[:5:5], filepath.Join(dir, "none"))...)
	k.ok("store", "check")
	k.ok(append(args, "--age", people[0].Recipient().String()+","+people[1].Recipient().String())...)

	files, err := filepath.Glob(filepath.Join(dir, "share-*-of-2-*.age"))
	if err != nil || len(files) != 2 {
		t.Fatalf("there are %q, %v", files, err)
	}
	var texts []string
	for i, path := range files {
		open := func(by age.Identity) (string, error) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			r, err := age.Decrypt(armor.NewReader(f), by)
			if err != nil {
				return "", err
			}
			text, err := io.ReadAll(r)
			return string(text), err
		}
		if _, err := open(people[1-i]); err == nil {
			t.Errorf("%s opens for another person", path)
		}
		text, err := open(people[i])
		if err != nil {
			t.Fatal(err)
		}
		s, err := wrapping.ParseShare(text)
		if err != nil || int(s.Number) != i+1 {
			t.Errorf("%s has %q: %v", path, text, err)
		}
		texts = append(texts, strings.TrimSpace(text))
	}
	raw, err := os.ReadFile(files[0])
	if err != nil || strings.Contains(string(raw), texts[0]) {
		t.Errorf("%s has the share in clear: %v", files[0], err)
	}
	if err := writeNew(files[0], nil); err == nil {
		t.Error("a file was replaced")
	}
}

package tang_test

import (
	"testing"

	"latchkey/kms/server/tang"
)

// What is taken for a point or a key holds its invariants; nothing panics.

func FuzzPoint(f *testing.F) {
	all, _ := recordings(f)
	f.Add([]byte("{}"))
	for _, r := range all {
		if r.ask != "" {
			f.Add([]byte(r.ask))
		}
	}
	keys := map[string]tang.Private{}
	for _, r := range all {
		p := parse(f, r.file)
		keys[p.Crv] = p
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := tang.ParseKey(text)
		if err != nil {
			return
		}
		product, err := tang.Exchange(keys[k.Crv], k)
		if err != nil {
			return
		}
		if _, err := tang.Exchange(keys[k.Crv], product); err != nil {
			t.Errorf("the product of %s is no point: %v", text, err)
		}
	})
}

func FuzzPrivate(f *testing.F) {
	all, _ := recordings(f)
	for _, r := range all {
		f.Add([]byte(r.file))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := tang.ParsePrivate(text)
		if err != nil {
			return
		}
		file, err := p.File()
		if err != nil {
			t.Fatal(err)
		}
		back, err := tang.ParsePrivate(file)
		if err != nil || back.Thumbprint() != p.Thumbprint() || !back.D.Equal(p.D) {
			t.Errorf("%s is written as %s, %v", text, file, err)
		}
	})
}

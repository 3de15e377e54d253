package server_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"latchkey/kms/server"
	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// The private parts are sealed by the data key: the database, and a copy of
// it, show none, and the log and the answers to operators neither.
func TestTangSealed(t *testing.T) {
	l := newTang(t, tangkeeper.Options{})
	l.advertised("/adv")
	files, err := l.Tang.Export(ctx, "")
	l.must(err)
	db, err := os.ReadFile(l.path())
	l.must(err)
	_, listed := get(l.AdminHandler(), "/v1/tang/keys")
	_, logged := get(l.AdminHandler(), "/v1/audit?from=1")
	for _, f := range files {
		p, err := tang.ParsePrivate(f.JWK)
		l.must(err)
		for what, text := range map[string][]byte{"database": db, "list": listed, "audit log": logged} {
			if bytes.Contains(text, p.D.Reveal()) || bytes.Contains(text, []byte(b64(p.D.Reveal()))) {
				t.Errorf("the private part of %s is in the %s", p.Thumbprint(), what)
			}
		}
	}
}

// A retired key is destroyed: its private part is in no row any more.
func TestTangRetiredIsDestroyed(t *testing.T) {
	l := newTang(t, tangkeeper.Options{})
	l.advertised("/adv")
	l.must(l.Tang.Rotate(ctx, "", tang.DefaultCurve))
	keys, err := l.Tang.Keys()
	l.must(err)
	for _, k := range keys {
		if k.State == "hidden" {
			l.must(l.Tang.Change(ctx, "retire", k.Thumbprint, true))
		}
	}
	st, err := bolt.Open(copyOf(t, l.path()), false, server.Tables())
	l.must(err)
	defer st.Close()
	n := 0
	l.must(st.View(func(r store.Reader) error {
		r.Scan("tang-private", nil, func(_, _ []byte) bool { n++; return true })
		return nil
	}))
	if n != 2 {
		t.Errorf("there are %d private parts, want those of the new pair", n)
	}
}

// copyOf copies the database while it is open: nothing writes to it.
func copyOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "kms.db")
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

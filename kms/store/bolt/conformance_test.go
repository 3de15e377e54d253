package bolt_test

import (
	"os"
	"path/filepath"
	"testing"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Place {
		path := filepath.Join(t.TempDir(), "db")
		db, err := bolt.Open(path, true, storetest.Tables())
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return place(path)
	})
}

func place(path string) storetest.Place {
	return storetest.Place{
		Large: 4 << 20,
		Open:  func() (store.Store, error) { return bolt.Open(path, false, storetest.Tables()) },
		Damage: func(t testing.TB) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := 2 * os.Getpagesize(); i < len(b); i++ {
				b[i] ^= 0x5a
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		Accept: func(backup []byte) (storetest.Place, error) {
			return place(path + ".restored"), os.WriteFile(path+".restored", backup, 0o600)
		},
	}
}

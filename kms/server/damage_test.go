package server_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"latchkey/kms/ledger"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/wrapping"
)

// edit changes the database behind the KMS' back.
func (f *fixture) edit(change func(store.Tx) error) {
	f.t.Helper()
	db, err := bolt.Open(f.path(), false, server.Tables())
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(ctx, change); err != nil {
		f.t.Fatal(err)
	}
}

// all lists a table's records.
func all(tx store.Reader, table string) (keys, values [][]byte) {
	tx.Scan(table, nil, func(k, v []byte) bool {
		keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v))
		return true
	})
	return keys, values
}

// E1: the database alone gives no secret and no key.
func TestStolenDatabaseHoldsNoSecret(t *testing.T) {
	f := newKMS(t)
	f.mustGet(f.approved())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	raw, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}

	for _, s := range []string{canary, string(f.wrapping.Reveal())} {
		if bytes.Contains(raw, []byte(s)) {
			t.Errorf("the database contains %q", s)
		}
	}

	f.wrapping = secret.Random(32)
	if err := f.start(); !errors.Is(err, ledger.ErrWrappingKey) {
		t.Errorf("opening with another wrapping key = %v, want %v", err, ledger.ErrWrappingKey)
	}
}

// E2: an old copy in the database's place is noticed.
func TestOldBackupIsNoticed(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	var old bytes.Buffer
	if err := backedUpBy(f, &old); err != nil {
		t.Fatal(err)
	}

	if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(f.path(), old.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.start(); !errors.Is(err, ledger.ErrRolledBack) {
		t.Errorf("opening an old backup = %v, want %v", err, ledger.ErrRolledBack)
	}
}

func backedUpBy(f *fixture, to *bytes.Buffer) error {
	_, body := get(f.AdminHandler(), "/v1/backup")
	_, err := to.Write(body)
	return err
}

// E3, E5, F24: whatever is changed in the database, the KMS does not start.
func TestEditedDatabaseIsRefused(t *testing.T) {
	for _, row := range []struct {
		name string
		edit func(store.Tx) error
	}{
		{"secrets swapped", func(tx store.Tx) error {
			k, v := all(tx, "secrets")
			if err := tx.Put("secrets", k[0], v[1]); err != nil {
				return err
			}
			return tx.Put("secrets", k[1], v[0])
		}},
		{"staged made active", func(tx store.Tx) error {
			k, v := all(tx, "secrets")
			for i := range k {
				if k[i][len(k[i])-1] == 2 {
					k[i][len(k[i])-1] = 1
					return tx.Put("secrets", k[i], v[i])
				}
			}
			return errors.New("nothing staged")
		}},
		{"a secret moved to another node", func(tx store.Tx) error {
			k, v := all(tx, "secrets")
			k[0][0] ^= 1
			return tx.Put("secrets", k[0], v[0])
		}},
		{"a node's row removed", func(tx store.Tx) error {
			k, _ := all(tx, "nodes")
			return tx.Delete("nodes", k[0])
		}},
		{"a node's row edited", func(tx store.Tx) error {
			k, v := all(tx, "nodes")
			v[0][len(v[0])-1] ^= 1
			return tx.Put("nodes", k[0], v[0])
		}},
		{"a node's row under another id", func(tx store.Tx) error {
			k, v := all(tx, "nodes")
			return tx.Put("nodes", k[0], v[1])
		}},
		{"the state removed", func(tx store.Tx) error { return tx.Delete("meta", []byte("state")) }},
		{"the signing key removed", func(tx store.Tx) error { return tx.Delete("meta", []byte("signing")) }},
		{"an audit event edited", func(tx store.Tx) error {
			k, v := all(tx, "audit")
			return tx.Put("audit", k[1], bytes.Replace(v[1], []byte("operator"), []byte("somebody"), 1))
		}},
		{"an audit event removed", func(tx store.Tx) error {
			return tx.Delete("audit", binary.BigEndian.AppendUint64(nil, 2))
		}},
		{"the audit log cut short", func(tx store.Tx) error {
			k, _ := all(tx, "audit")
			return tx.Delete("audit", k[len(k)-1])
		}},
		{"an audit event added", func(tx store.Tx) error {
			k, v := all(tx, "audit")
			return tx.Put("audit", binary.BigEndian.AppendUint64(nil, uint64(len(k)+1)), v[0])
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newKMS(t)
			node := f.approved()
			f.approve(newTPM(t), kms.UUID{3})
			f.deposit(node, kms.Put, data, blob("sealed"))
			f.deposit(node, kms.Stage, data, blob("staged"))
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f.edit(row.edit)
			if err := f.start(); !errors.Is(err, ledger.ErrUnverified) {
				t.Errorf("opening = %v, want %v", err, ledger.ErrUnverified)
			}
		})
	}
}

// F24: a record that is exchanged under a running server is not given out
// in another's place.
func TestSwappedWhileRunning(t *testing.T) {
	var db store.Store
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			db = st
			return st
		}
	})

	node := f.approved()
	f.deposit(node, kms.Put, data, blob("sealed"))
	err := db.Update(ctx, func(tx store.Tx) error {
		k, v := all(tx, "secrets")
		if err := tx.Put("secrets", k[0], v[1]); err != nil {
			return err
		}
		return tx.Put("secrets", k[1], v[0])
	})
	if err != nil {
		t.Fatal(err)
	}

	if g, err := f.get(node, root, data); err == nil {
		t.Errorf("Get of swapped secrets = %+v", g)
	}
}

// A record put back from an older copy of the same database is found by the
// digest over all records.
func TestOldRecordIsNoticed(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	var before []byte
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	f.edit(func(tx store.Tx) error {
		_, v := all(tx, "nodes")
		before = v[0]
		return nil
	})

	if err := f.start(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
		t.Fatal(err)
	}

	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	id := node.NodeID()
	f.edit(func(tx store.Tx) error { return tx.Put("nodes", id[:], before) })
	if err := f.start(); !errors.Is(err, ledger.ErrUnverified) {
		t.Errorf("opening = %v, want %v", err, ledger.ErrUnverified)
	}
}

// F24: a damaged file is refused, never misread.
func TestDamagedFileIsRefused(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"cut short", func(b []byte) []byte { return b[:len(b)/2] }},
		{"text", func([]byte) []byte { return []byte("not a database\n") }},
		{"every page but the first two overwritten", func(b []byte) []byte {
			for i := 2 * os.Getpagesize(); i < len(b); i++ {
				b[i] ^= 0xa5
			}
			return b
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newKMS(t)
			f.approved()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}

			raw, err := os.ReadFile(f.path())
			if err != nil {
				t.Fatal(err)
			}

			damaged := row.damage(raw)
			if err := os.WriteFile(f.path(), damaged, 0o600); err != nil {
				t.Fatal(err)
			}

			if err := f.start(); err == nil {
				t.Error("a damaged database was opened")
			}
			if after, err := os.ReadFile(f.path()); err != nil || len(damaged) > 0 && !bytes.Equal(after, damaged) {
				t.Errorf("the damaged database was changed (%v): nothing may be overwritten", err)
			}
		})
	}
}

// E4: loose modes are refused.
func TestLooseModesAreRefused(t *testing.T) {
	f := newKMS(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	if err := os.Chmod(f.path(), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := f.start(); err == nil {
		t.Error("a database that others can read was opened")
	}

	key := f.dir + "/wrapping.key"
	if err := os.WriteFile(key, make([]byte, 32), 0o644); err != nil {
		t.Fatal(err)
	}

	if _, err := wrapping.ReadFile(key); err == nil {
		t.Error("a wrapping key that others can read was taken")
	}
}

// A file that Kubernetes hands to a pod is taken: root's, read by a group of
// the pod's. The test reads it as nobody.
func TestHandedWrappingKey(t *testing.T) {
	if path := os.Getenv("TEST_WRAPPING_KEY"); path != "" {
		if _, err := wrapping.ReadFile(path); err != nil {
			t.Error(err)
		}
		return
	}

	if os.Getuid() != 0 {
		t.Skip("needs root, to read a file as another user")
	}
	dir, err := os.MkdirTemp("", "handed")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	key, self := dir+"/wrapping.key", dir+"/test"
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}

	for path, file := range map[string][]byte{key: make([]byte, 32), self: program} {
		if err := errors.Join(os.WriteFile(path, file, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}

	for _, row := range []struct {
		mode  os.FileMode
		gid   int
		taken bool
	}{{0o440, 4242, true}, {0o444, 4242, false}, {0o460, 4242, false}, {0o440, 4243, false}} {
		if err := errors.Join(os.Chown(key, 0, row.gid), os.Chmod(key, row.mode)); err != nil {
			t.Fatal(err)
		}
		c := exec.Command(self, "-test.run=^TestHandedWrappingKey$")
		c.Dir, c.Env = "/", append(os.Environ(), "TEST_WRAPPING_KEY="+key, "TMPDIR=/tmp")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4242, Gid: 4242}}
		if out, err := c.CombinedOutput(); (err == nil) != row.taken {
			t.Errorf("mode %#o, group %d: %v; taken must be %t\n%s", row.mode, row.gid, err, row.taken, out)
		}
	}
}

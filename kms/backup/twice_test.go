package backup_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"latchkey/kms/backup"
)

// Two backups of one state in one second are one, also when they are sealed;
// of another state there are two, and each has a name of its own.
func TestTwiceInASecond(t *testing.T) {
	one, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range [][]age.Recipient{nil, {one.Recipient()}} {
		synctest.Test(t, func(t *testing.T) {
			dir, other := t.TempDir(), t.TempDir()
			m := maker(t, backup.Dir(dir))
			m.To = to
			facts := backup.Facts{Epoch: 877, Events: 1}
			m.Judge = func(string) (backup.Facts, error) { return facts, nil }
			back := func(want ...string) string {
				t.Helper()
				made, err := m.Make(t.Context())
				if err != nil || len(made.Places) != len(m.Places) {
					t.Fatalf("Make = %+v, %v", made, err)
				}
				if all := names(t, dir); !slices.Equal(all, append(want, made.Name)) {
					t.Fatalf("the directory has %v, want %v and %s", all, want, made.Name)
				}
				return made.Name
			}
			first := back()
			if second := back(); second != first {
				t.Errorf("of the same state in the same second there is %s, want %s", second, first)
			}
			m.Places = append(m.Places, backup.Dir(other))
			back()
			if all := names(t, other); !slices.Equal(all, []string{first}) {
				t.Errorf("a place without it has %v then, want %s", all, first)
			}
			facts.Events++
			second := back(first)
			facts.Events++
			third := back(first, second)
			time.Sleep(10 * time.Second)
			back(first, second, third)
		})
	}
}

package eventlog_test

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/kms/server/eventlog"
	"latchkey/kms/server/eventlog/eventlogtest"
)

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzRead: whatever is done to a log, one that is taken tells of the boot
// that was quoted what the true log tells, or nothing.
func FuzzRead(f *testing.F) {
	var truth []*eventlog.Summary
	for i, name := range boots {
		e := eventlogtest.Raw(name)
		f.Add(i, e.Log)
		s, err := eventlog.Read(e)
		if err != nil {
			f.Fatal(err)
		}
		truth = append(truth, s)
	}
	f.Fuzz(func(t *testing.T, which int, log []byte) {
		which = int(uint(which) % uint(len(boots)))
		e := eventlogtest.Raw(boots[which])
		e.Log = log
		s, err := eventlog.Read(e)
		if err != nil {
			return
		}
		want := truth[which]
		if s.SecureBoot != "" && s.SecureBoot != want.SecureBoot {
			t.Errorf("Secure Boot is %s", s.SecureBoot)
		}
		for _, keys := range [][2]*eventlog.Keys{{s.PK, want.PK}, {s.KEK, want.KEK}, {s.DB, want.DB}, {s.DBX, want.DBX}} {
			if diff := cmp.Diff(keys[1], keys[0]); keys[0] != nil && diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		}
		if !slices.EqualFunc(s.Programs, want.Programs, func(a, b eventlog.Program) bool { return a.SHA256 == b.SHA256 }) {
			t.Errorf("programs are %v", s.Programs)
		}
		if diff := cmp.Diff(want.Sections, s.Sections); diff != "" {
			t.Errorf("sections (-want +got):\n%s", diff)
		}
	})
}

// BenchmarkRead is what a new boot state costs, once: a log of 200 events.
func BenchmarkRead(b *testing.B) {
	l := eventlogtest.Recorded("grub")
	for len(l.Events) < 200 {
		l.Insert(len(l.Events), l.Events[l.Find(4, eventlogtest.Application, func(eventlogtest.Event) bool { return true })])
	}
	e := l.Evidence("enter-initrd")
	for b.Loop() {
		if _, err := eventlog.Read(e); err != nil {
			b.Fatal(err)
		}
	}
}

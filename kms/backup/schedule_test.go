package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/backup"
)

// A shelf is a place in memory.
type shelf struct {
	files map[backup.Name][]byte
	fails bool
}

func (s *shelf) String() string { return "shelf" }

func (s *shelf) Put(_ context.Context, n backup.Name, write func(io.Writer) error) error {
	if s.fails {
		return errors.New("the shelf is full")
	}
	var b bytes.Buffer
	err := write(&b)
	s.files[n] = b.Bytes()
	return err
}

func (s *shelf) Open(_ context.Context, n backup.Name) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.files[n])), nil
}

func (s *shelf) List(context.Context) (all []backup.File, err error) {
	for n, b := range s.files {
		all = append(all, backup.File{Name: n, Bytes: int64(len(b))})
	}
	return all, nil
}

func (s *shelf) Remove(_ context.Context, n backup.Name) error {
	delete(s.files, n)
	return nil
}

// times are when its backups were made, since a time.
func (s *shelf) times(since time.Time) (all []time.Duration) {
	for n := range maps.Keys(s.files) {
		all = append(all, n.At.Sub(since))
	}
	slices.Sort(all)
	return all
}

func scheduled(t *testing.T, s *shelf) *backup.Schedule {
	return &backup.Schedule{Maker: *maker(t, s), Every: 6 * time.Hour, Log: slog.New(slog.DiscardHandler)}
}

func during(t *testing.T, s *backup.Schedule, long time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	s.Run(ctx)
}

// The first backup is made at once, and a restart makes none too many.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &shelf{files: map[backup.Name][]byte{}}
		during(t, scheduled(t, s), 13*time.Hour)
		during(t, scheduled(t, s), 10*time.Hour)
		if got, want := s.times(began), []time.Duration{0, 6 * time.Hour, 12 * time.Hour, 18 * time.Hour}; !slices.Equal(got, want) {
			t.Errorf("backups at %v, want %v", got, want)
		}
	})
}

// A newest backup of tomorrow, by a clock that was ahead, puts nothing off.
func TestClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &shelf{files: map[backup.Name][]byte{{Of: of, At: began.Add(400 * 24 * time.Hour).UTC()}: nil}}
		during(t, scheduled(t, s), 7*time.Hour)
		if got := s.times(began); len(got) != 2 || got[0] != 6*time.Hour {
			t.Errorf("backups at %v, want one after 6h", got)
		}
	})
}

// What failed is tried again soon, then less often; the status says why.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		shelf := &shelf{files: map[backup.Name][]byte{}, fails: true}
		s := scheduled(t, shelf)
		during(t, s, 75*time.Minute) // at 0, 10, 30 and 70 minutes
		if st := s.Status(); st.Failed != 4 || st.Why == "" || st.Places[0].Name != "" {
			t.Errorf("after 75 minutes: %+v, want 4 failures", st)
		}
		shelf.fails = false
		during(t, s, time.Minute)
		if st := s.Status(); st.Why != "" || st.Places[0].At.Sub(began) != 75*time.Minute {
			t.Errorf("after that: %+v, want a backup at 75m", st)
		}
	})
}

// One is made at a time.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scheduled(t, &shelf{files: map[backup.Name][]byte{}})
		begun, go_ := make(chan bool), make(chan bool)
		write := s.Write
		s.Write = func(w io.Writer) error {
			begun <- true
			<-go_
			return write(w)
		}
		first := make(chan error)
		go func() {
			_, err := s.Make(t.Context())
			first <- err
		}()
		<-begun
		if _, err := s.Make(t.Context()); !errors.Is(err, backup.ErrMaking) {
			t.Errorf("a second one: %v, want ErrMaking", err)
		}
		close(go_)
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

package presence_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/presence"
	"latchkey/kms/store/bolt"
)

var (
	noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	lan  = netip.MustParsePrefix("192.0.2.0/24")
)

// A shelf is a store, with books of the servers on it.
type shelf struct {
	*ledger.Ledger
	t testing.TB
}

func newShelf(t testing.TB) shelf {
	t.Helper()
	dir, ctx := t.TempDir(), context.Background()
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, ledger.Names(presence.Tables()))
	if err != nil {
		t.Fatal(err)
	}
	wrapping, mark := secret.Random(32), ledger.MarkFile(filepath.Join(dir, "epoch"))
	if _, err := ledger.Initialize(ctx, db, wrapping, mark); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Store: db, Wrapping: wrapping, Mark: mark, Tables: presence.Tables()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return shelf{l, t}
}

func (s shelf) write(b *presence.Book, now time.Time) {
	s.t.Helper()
	err := b.Write(func(f func(*ledger.Txn) error) error { return s.Update(context.Background(), f) }, now, time.Minute)
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s shelf) last(b *presence.Book, id kms.NodeID, now time.Time) (sight presence.Sight) {
	s.t.Helper()
	err := s.Read(func(v ledger.View) (err error) {
		sight, err = b.Last(v, id, now)
		if all, failed := b.All(v, now); failed != nil || all[id] != sight {
			return fmt.Errorf("All = %+v, %w, want %+v", all[id], failed, sight)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return sight
}

func (s shelf) outages(now time.Time) (all []policy.Outage) {
	s.t.Helper()
	if err := s.Read(func(v ledger.View) (err error) { all, err = presence.Outages(v, now); return err }); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// Servers of one store tell each other who was seen, whichever saw it last.
func TestBooksShare(t *testing.T) {
	s := newShelf(t)
	one, two := presence.NewBook(), presence.NewBook()
	a, b := kms.NodeID{1}, kms.NodeID{1, 2} // of one row
	one.Saw(a, presence.Sight{At: noon.Add(999 * time.Millisecond), From: lan})
	two.Saw(b, presence.Sight{At: noon, From: netip.MustParsePrefix("2001:db8::/64")})
	if got := s.last(two, a, noon); !got.At.IsZero() {
		t.Errorf("before it is written another server has %+v", got)
	}
	s.write(one, noon)
	s.write(two, noon)
	if got := s.last(two, a, noon); got != (presence.Sight{At: noon, From: lan}) {
		t.Errorf("Last = %+v", got)
	}
	if got := s.last(one, b, noon); got.From.String() != "2001:db8::/64" {
		t.Errorf("Last = %+v", got)
	}

	two.Saw(a, presence.Sight{At: noon.Add(time.Minute)})
	one.Saw(a, presence.Sight{At: noon.Add(-time.Minute), From: lan}) // a beat that was held back
	s.write(two, noon.Add(time.Minute))
	s.write(one, noon.Add(time.Minute))
	if got := s.last(one, a, noon.Add(time.Hour)); got != (presence.Sight{At: noon.Add(time.Minute)}) {
		t.Errorf("Last = %+v, want the later one, of no network", got)
	}
}

// A clock that was ahead keeps nobody present: its times count as now, and
// give way.
func TestTimeAhead(t *testing.T) {
	s, id := newShelf(t), kms.NodeID{7}
	wrong, right := presence.NewBook(), presence.NewBook()
	wrong.Saw(id, presence.Sight{At: noon.Add(24 * time.Hour)})
	s.write(wrong, noon.Add(24*time.Hour))
	if got := s.last(right, id, noon); !got.At.Equal(noon) {
		t.Errorf("Last = %v, want now", got.At)
	}
	right.Saw(id, presence.Sight{At: noon})
	s.write(right, noon)
	if got := s.last(right, id, noon.Add(time.Hour)); !got.At.Equal(noon) {
		t.Errorf("Last = %v, want %v", got.At, noon)
	}
}

// Who was not seen for long is forgotten; many machines are written in several
// transactions, and all of them.
func TestManyMachines(t *testing.T) {
	s, b := newShelf(t), presence.NewBook()
	var ids []kms.NodeID
	for i := range 10_000 {
		id := kms.NodeID{byte(i), byte(i >> 8)}
		ids = append(ids, id)
		b.Saw(id, presence.Sight{At: noon, From: lan})
	}
	s.write(b, noon)
	again := presence.NewBook()
	if err := s.Read(func(v ledger.View) error {
		all, err := again.All(v, noon)
		for _, id := range ids {
			if all[id].At != noon {
				return fmt.Errorf("%s was seen %v", id, all[id].At)
			}
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	later := noon.Add(91 * 24 * time.Hour)
	b.Saw(ids[0], presence.Sight{At: later})
	s.write(b, later)
	if got := s.last(b, kms.NodeID{0, 1}, later); !got.At.IsZero() {
		t.Errorf("after 91 days it was seen %v", got.At)
	}
	if got := s.last(b, ids[0], later); got.At != later {
		t.Errorf("it was seen %v, want now", got.At)
	}
}

// What could not be written is written the next time.
func TestWriteFails(t *testing.T) {
	s, b, id := newShelf(t), presence.NewBook(), kms.NodeID{9}
	b.Saw(id, presence.Sight{At: noon})
	if err := b.Write(func(func(*ledger.Txn) error) error { return fmt.Errorf("no room") }, noon, time.Minute); err == nil {
		t.Fatal("Write says that it is done")
	}
	s.write(b, noon)
	if got := s.last(presence.NewBook(), id, noon); got.At != noon {
		t.Errorf("Last = %v, want %v", got.At, noon)
	}
}

// A time in which no server said that it is there is an outage, while it lasts
// and when it is over; the first one is since ever.
func TestOutages(t *testing.T) {
	s, b := newShelf(t), presence.NewBook()
	if got := s.outages(noon); len(got) != 1 || !got[0].From.IsZero() || got[0].To != noon {
		t.Errorf("before anything was kept: %+v", got)
	}
	s.write(b, noon)
	s.write(b, noon.Add(2*time.Minute))
	if got := s.outages(noon.Add(4 * time.Minute)); len(got) != 1 {
		t.Errorf("a server that is late: %+v", got)
	}
	want := policy.Outage{From: noon.Add(2 * time.Minute), To: noon.Add(time.Hour)}
	if got := s.outages(noon.Add(time.Hour)); len(got) != 2 || got[1] != want {
		t.Errorf("an outage that lasts: %+v, want %+v", got, want)
	}
	s.write(b, noon.Add(time.Hour))
	if got := s.outages(noon.Add(time.Hour + time.Minute)); len(got) != 2 || got[1] != want {
		t.Errorf("an outage that is over: %+v, want %+v", got, want)
	}
	for day := range 20 {
		s.write(b, noon.Add(time.Duration(day+1)*24*time.Hour))
	}
	if got := s.outages(noon.Add(20 * 24 * time.Hour)); len(got) != 8 || got[7].To != noon.Add(20*24*time.Hour) {
		t.Errorf("20 outages: %+v, want the last 8", got)
	}
}

// A ticket opens at each server of its store, and nowhere else; no two are
// alike, and none that was changed opens.
func TestTickets(t *testing.T) {
	ctx, s, other := context.Background(), newShelf(t), newShelf(t)
	one, two, foreign := presence.NewBook(), presence.NewBook(), presence.NewBook()
	for b, l := range map[*presence.Book]*ledger.Ledger{one: s.Ledger, two: s.Ledger, foreign: other.Ledger} {
		if err := b.Key(ctx, l); err != nil {
			t.Fatal(err)
		}
	}
	ticket := &presence.Ticket{At: noon, Node: kms.NodeID{5}, Boot: policy.Clock{Reset: 3, Restart: 1}, Known: secret.Random(kms.BeatKeySize)}
	ticket.Key[32] = 9
	sealed := one.Seal(ticket)
	if slices.Equal(sealed, one.Seal(ticket)) {
		t.Error("a ticket is the same text twice: who listens can tell the machine by it")
	}
	got, err := two.Open(sealed)
	if err != nil || !got.At.Equal(noon) || got.Node != ticket.Node || got.Key != ticket.Key || got.Boot != ticket.Boot || !got.Known.Equal(ticket.Known) {
		t.Errorf("Open = %+v, %v", got, err)
	}
	if _, err := foreign.Open(sealed); err == nil {
		t.Error("another store's server opens it")
	}
	for i := range sealed {
		sealed[i]++
		if _, err := two.Open(sealed); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
		sealed[i]--
	}
	if _, err := two.Open(sealed[:8]); err == nil {
		t.Error("eight bytes of it open")
	}
}

func TestEvery(t *testing.T) {
	for shortest, want := range map[time.Duration]time.Duration{
		0: 10 * time.Minute, policy.MinPresence: 75 * time.Second, 10 * time.Minute: 150 * time.Second, 24 * time.Hour: 10 * time.Minute,
	} {
		if got := presence.Every(shortest); got != want {
			t.Errorf("Every(%s) = %s, want %s", shortest, got, want)
		}
	}
}

package wrapping

import (
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"latchkey/internal/secret"
)

// A known is the material of shares, as JSON: what they are recognized by.
type known struct {
	Version int      `json:"version"` // 1
	Set     string   `json:"set"`
	Needed  int      `json:"needed"`
	Hashes  []string `json:"hashes"` // SHA-256, of share 1 on
}

func knownOf(shares []Share) ([]byte, error) {
	k := known{Version: 1, Set: shares[0].Set.String(), Needed: int(shares[0].Needed)}
	for _, s := range shares {
		hash := s.Hash()
		k.Hashes = append(k.Hashes, hex.EncodeToString(hash[:]))
	}
	return json.MarshalIndent(k, "", " ")
}

func readKnown(path string) (k known, err error) {
	b, err := readMaterial(path)
	if err != nil {
		return k, err
	}
	if err = json.Unmarshal(b, &k); err != nil || k.Version != 1 || k.Needed < 2 || len(k.Hashes) < k.Needed {
		return k, fmt.Errorf("reading %s: it is no set of shares of ours", path)
	}
	return k, nil
}

// Errors of a share that is given.
var (
	ErrOtherSet   = errors.New("it is a share of another key: an older one, or another server's")
	ErrWrongShare = errors.New("it is none of the shares that were made")
	ErrShareTwice = errors.New("this share was given already")
)

// ShareLife is how long a share is kept that others have not completed.
const ShareLife = 10 * time.Minute

// A Gathering collects the shares of a key. It may know several sets: those
// of a change that was cut short.
type Gathering struct {
	mu    sync.Mutex
	sets  map[string]*gathered // by the file of their material
	whole chan struct{}        // closed when a set is complete
}

type gathered struct {
	known
	given map[byte]*given // by number
}

type given struct {
	Share
	who string
	at  time.Time
}

// A Progress is how many shares of a set are there.
type Progress struct {
	Set  string `json:"set"`
	Have int    `json:"have"`
	Need int    `json:"need"`
}

// A Giver is who gave which share.
type Giver struct {
	Who    string
	Number int
	Set    string
}

// Gather begins to collect, for material in these files; one that is missing
// is left out unless it is the first.
func Gather(first string, others ...string) (*Gathering, error) {
	g := &Gathering{sets: map[string]*gathered{}, whole: make(chan struct{})}
	for i, path := range append([]string{first}, others...) {
		k, err := readKnown(path)
		if err != nil && i == 0 {
			return nil, err
		}
		if err == nil {
			g.sets[path] = &gathered{k, map[byte]*given{}}
		}
	}
	return g, nil
}

// Give takes the text of a share from somebody. A wrong one is said at once.
func (g *Gathering) Give(text, who string) (Progress, error) {
	s, err := ParseShare(text)
	if err != nil {
		return Progress{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire()
	for _, set := range g.sets {
		if set.Set != s.Set.String() {
			continue
		}
		if int(s.Number) > len(set.Hashes) || s.Number == 0 || int(s.Needed) != set.Needed || !set.made(s) {
			return set.progress(), ErrWrongShare
		}
		if set.given[s.Number] != nil {
			return set.progress(), ErrShareTwice
		}
		set.given[s.Number] = &given{s, who, time.Now()}
		p := set.progress()
		if p.Have >= p.Need {
			g.complete()
		}
		return p, nil
	}
	return Progress{}, fmt.Errorf("%w: set %s, and wanted is %s", ErrOtherSet, s.Set, g.names())
}

// complete says so, once.
func (g *Gathering) complete() {
	select {
	case <-g.whole:
	default:
		close(g.whole)
	}
}

// made tells whether a share is one of those that were made.
func (s *gathered) made(one Share) bool {
	hash := one.Hash()
	return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(hash[:])), []byte(s.Hashes[one.Number-1])) == 1
}

func (s *gathered) progress() Progress { return Progress{s.Set, len(s.given), s.Needed} }

func (g *Gathering) names() (all []string) {
	for _, path := range slices.Sorted(maps.Keys(g.sets)) {
		all = append(all, g.sets[path].Set)
	}
	return all
}

// Expire forgets shares that are older than ShareLife.
func (g *Gathering) Expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire()
}

func (g *Gathering) expire() {
	select {
	case <-g.whole:
		return // they are about to be used
	default:
	}
	for _, set := range g.sets {
		for number, s := range set.given {
			if time.Since(s.at) >= ShareLife {
				s.y.Wipe()
				delete(set.given, number)
			}
		}
	}
}

// Progress is how far the set has come of which most shares are there.
func (g *Gathering) Progress() (best Progress) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire()
	for i, path := range slices.Sorted(maps.Keys(g.sets)) {
		if p := g.sets[path].progress(); i == 0 || p.Have > best.Have {
			best = p
		}
	}
	return best
}

// Whole is closed when a set is complete.
func (g *Gathering) Whole() <-chan struct{} { return g.whole }

// Key is the key of the set that is complete, the file of its material, and
// who gave its shares, which are wiped.
func (g *Gathering) Key() (key secret.Bytes, material string, by []Giver, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for path, set := range g.sets {
		if len(set.given) < set.Needed {
			continue
		}
		var shares []Share
		for _, number := range slices.Sorted(maps.Keys(set.given)) {
			s := set.given[number]
			shares = append(shares, s.Share)
			by = append(by, Giver{s.who, int(number), set.Set})
			defer s.y.Wipe()
		}
		key, err = combine(shares)
		return key, path, by, err
	}
	return secret.Bytes{}, "", nil, errors.New("shares are missing")
}

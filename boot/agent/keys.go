package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/dm"
)

// errNotOurs is the answer to a question about a volume that the plan does not
// name.
var errNotOurs = errors.New("the plan names no such volume")

// keys are what opens the volumes, from when it is fetched until it is given.
type keys struct {
	number func(path string) (dm.Number, bool)

	mu      sync.Mutex
	all     []*key
	settled chan struct{} // closed when answers are given, or refused
	given   chan struct{} // closed when all that there is is given
	once    sync.Once
	over    bool  // nothing is held any more
	failed  error // why the fetching failed
	err     error // why a key is not there
}

// A key is one volume's.
type key struct {
	name, uuid string
	device     string // "" until it is found
	passphrase secret.Bytes
	held       bool // and not given yet
	// refused is closed when it is known that there will be none, and why says
	// the reason.
	refused chan struct{}
	why     error
}

func newKeys(p *plan.Plan, sys System) *keys {
	k := &keys{number: sys.Number, settled: make(chan struct{}), given: make(chan struct{})}
	for _, v := range p.Volumes {
		k.all = append(k.all, &key{name: v.Name, uuid: v.UUID, refused: make(chan struct{})})
	}
	return k
}

// hold keeps what opens a volume. A late word of a worker changes nothing.
func (k *keys) hold(v *unlock.Volume, passphrase secret.Bytes) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return
	}
	for _, one := range k.all {
		if one.name == v.Name {
			one.passphrase.Wipe()
			one.passphrase, one.device, one.held = passphrase.Clone(), v.Device, true
		}
	}
}

// refuse says that there will be no key for a volume, once.
func (k *keys) refuse(name string, why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.all {
		if one.name == name {
			one.why = why
			close(one.refused)
		}
	}
}

// refusal is closed when a volume, by its name or UUID, will have no key. The
// path of one that is not looked for says nothing.
func (k *keys) refusal(asked string) <-chan struct{} {
	for _, one := range k.all {
		if one.is(asked) {
			return one.refused
		}
	}
	return nil
}

// settle ends the fetching: a key that is not there by now has err as the
// reason.
func (k *keys) settle(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over, k.failed = true, err
	if k.err = err; err == nil {
		k.err = errors.New("the sources of the plan have no key for it")
	}
	close(k.settled)
	k.checkGiven()
}

// checkGiven tells when nothing is left to be given.
func (k *keys) checkGiven() {
	if !slices.ContainsFunc(k.all, func(one *key) bool { return one.held }) {
		k.once.Do(func() { close(k.given) })
	}
}

// names tells whether the plan names a volume: by its mapping's name or its
// UUID. A path is one that may be; that is known when the disks are.
func (k *keys) names(asked string) bool {
	return strings.HasPrefix(asked, "/") || slices.ContainsFunc(k.all, func(one *key) bool { return one.is(asked) })
}

func (one *key) is(asked string) bool { return asked == one.name || strings.EqualFold(asked, one.uuid) }

// take waits for what opens a volume. asked is the name of its mapping, its
// UUID, or a path of the device that it is on. The caller says whether the key
// was given; then it is not given again.
func (k *keys) take(ctx context.Context, asked string) (_ secret.Bytes, given func(bool), err error) {
	if !k.names(asked) {
		return secret.Bytes{}, nil, fmt.Errorf("%.80q: %w", asked, errNotOurs)
	}
	select {
	case <-k.settled:
	case <-k.refusal(asked):
	case <-ctx.Done():
		return secret.Bytes{}, nil, ctx.Err()
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.find(asked)
	switch {
	case one != nil && one.why != nil && k.err != errOver:
		return secret.Bytes{}, nil, fmt.Errorf("volume %s: %w", one.name, one.why)
	case one == nil && k.err == errOver:
		return secret.Bytes{}, nil, errOver
	case one == nil:
		return secret.Bytes{}, nil, k.unknown(asked)
	case one.held:
		return one.passphrase.Clone(), func(did bool) { k.giveOut(one, did) }, nil
	case one.device != "":
		return secret.Bytes{}, nil, fmt.Errorf("volume %s: its key was given already", one.name)
	}
	return secret.Bytes{}, nil, fmt.Errorf("volume %s: %w", one.name, k.err)
}

// unknown is the answer about the path of a device that is no volume that was
// found. Where volumes were not even looked for, it may be one of them, and the
// reason is what people have to know.
func (k *keys) unknown(asked string) error {
	if k.failed != nil {
		return fmt.Errorf("%.80q: no volume was found: %w", asked, k.failed)
	}
	for _, one := range k.all {
		if one.why != nil && one.device == "" {
			return fmt.Errorf("%.80q is no volume that was found; volume %s: %w", asked, one.name, one.why)
		}
	}
	return fmt.Errorf("%.80q: %w", asked, errNotOurs)
}

// giveOut forgets a key that was given.
func (k *keys) giveOut(one *key, did bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if did && one.held {
		one.held = false
		one.passphrase.Wipe()
		k.checkGiven()
	}
}

// find is the volume that is meant.
func (k *keys) find(asked string) *key {
	for _, one := range k.all {
		if one.is(asked) {
			return one
		}
		if !strings.HasPrefix(asked, "/") || one.device == "" {
			continue
		}
		there, ok1 := k.number(asked)
		found, ok2 := k.number(one.device)
		if ok1 && ok2 && there == found {
			return one
		}
	}
	return nil
}

// wipe forgets what was not given.
func (k *keys) wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	if k.failed == nil {
		k.err = errOver
	}
	for _, one := range k.all {
		if one.held {
			one.passphrase.Wipe()
		}
		one.held, one.device = false, ""
	}
}

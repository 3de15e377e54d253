package boottest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/worker"
	"latchkey/internal/secret"
	"latchkey/kms"
)

// connectTime is how long a dead server is waited for: connectTimeout of kms.
const connectTime = 5 * time.Second

// A KMS is a key server in some state.
type KMS struct {
	State   string                // "" is good; "away", "sealed", "refuses", "wrong pin", "pending"
	Keys    map[string]string     // by UUID: the active secret
	Staged  map[string]string     // by UUID: the next one
	Pushed  map[string]string     // by UUID: what a person pushed to this boot
	MACs    map[string][]byte     // by UUID: of the volume key
	Refused map[string]kms.Status // by UUID: what it says instead of a key
	Reports []kms.Result          // what it was told
	Deaf    bool                  // reports are lost
	Asked   int                   // how often it was asked for keys
	Wanted  [][]kms.Want          // what for
	Others  map[string]string     // the state of servers at other addresses, by URL; of one that is dead "dead"

	machine *Machine
	mu      sync.Mutex
}

// connected tells whether the network is as the key server needs it.
func (m *Machine) connected() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Reaches == nil || m.Reaches(m.net)
}

// Set changes its state.
func (k *KMS) Set(state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.State = state
}

// Server implements worker.Links.
func (w workerProcess) Server(pins []kms.Pin, _ string) worker.Server {
	return &client{&w.machine.KMS, w.process, pins}
}

type client struct {
	*KMS
	p    *process
	pins []kms.Pin
}

// Wait implements worker.Server: this key server tells nobody.
func (c *client) Wait(context.Context, string, []byte) error {
	return codes.Fail(kms.CodeBadAnswer, "HTTP status 404")
}

// Get asks for keys. The proof is judged as the real one judges it: PCR 11
// shows the phase enter-initrd, and PCR 15 nothing.
func (c *client) Get(ctx context.Context, url string, p kms.Prover, wants []kms.Want) (*kms.Grant, error) {
	c.mu.Lock()
	c.Asked++
	c.Wanted = append(c.Wanted, wants)
	state := c.State
	if other := c.Others[url]; other != "" {
		state = other
	}
	c.mu.Unlock()
	if !c.p.machine.connected() {
		state = "away"
	}
	if err := c.p.alive(); err != nil {
		return nil, err
	}
	switch state {
	case "dead": // its address answers nothing, not even that it is not there
		select {
		case <-time.After(connectTime):
		case <-ctx.Done():
		}
		return nil, codes.Fail(kms.CodeUnreachable, "connecting to %s: i/o timeout", url)
	case "away":
		return nil, codes.Fail(kms.CodeUnreachable, "connecting to %s: no route to host", url)
	case "sealed":
		return nil, codes.Fail(kms.CodeBusy, "asking %s for keys: the KMS is busy", url)
	case "wrong pin":
		return nil, codes.Fail(kms.CodeWrongPin, "%s is not signed with a KMS key of this image's plan", url)
	}

	s, err := p.Activate(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	s.Wipe()
	q, err := p.Quote(ctx, []int{11, 15}, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case q.PCRs[1].Value != [32]byte{}:
		return nil, codes.Fail(kms.PCR15Used.Code(), "PCR 15 is not zero")
	case q.PCRs[0].Value != phase11():
		return nil, codes.Fail(kms.PCRMismatch.Code(), "PCR 11 is not as approved")
	case state == "refuses":
		return nil, codes.Fail(kms.Refused.Code(), "asking %s for keys: the KMS says refused", url)
	case len(c.pushed()) > 0:
	case state == "pending":
		return nil, codes.Fail(kms.Pending.Code(), "asking %s for keys: the KMS says pending", url)
	}
	return c.grant(wants), nil
}

func (c *client) grant(wants []kms.Want) *kms.Grant {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := &kms.Grant{Pin: c.pins[0]}
	for _, w := range wants {
		v := kms.Granted{UUID: w.UUID, Status: kms.OK, Active: material(c.Keys[w.UUID.String()]), Staged: material(c.Staged[w.UUID.String()]), MAC: c.MACs[w.UUID.String()]}
		if s, ok := c.Refused[w.UUID.String()]; ok {
			v = kms.Granted{UUID: w.UUID, Status: s}
		} else if s := c.Pushed[w.UUID.String()]; s != "" {
			delete(c.Pushed, w.UUID.String()) // it is given once
			v.Active = kms.Material{Kind: kms.Pushed, Secret: secret.Own([]byte(s))}
		} else if v.Active.Kind == 0 {
			v.Status = kms.NoSecret
		}
		g.Volumes = append(g.Volumes, v)
	}
	return g
}

// Push is what a person does far away.
func (k *KMS) Push(uuid, passphrase string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Pushed = map[string]string{uuid: passphrase}
}

func (k *KMS) pushed() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.Pushed
}

// Due, as a staged secret, is the word that the machine is to make one.
const Due = "due"

// Sealed is a secret that only this machine's TPM gives back.
func Sealed(s string) string { return string(sealed) + s }

func material(s string) kms.Material {
	switch {
	case s == "":
		return kms.Material{}
	case s == Due:
		return kms.Material{Kind: kms.Due}
	case strings.HasPrefix(s, string(sealed)):
		return kms.Material{Kind: kms.Bound, Secret: secret.Own([]byte(s))}
	}
	return kms.Material{Kind: kms.Static, Secret: secret.Own([]byte(s))}
}

// Deposit takes the secret that was due.
func (c *client) Deposit(_ context.Context, _ string, _ kms.Prover, op kms.Operation, wants []kms.Want, offers []kms.Offer) (*kms.Grant, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := wants[0].UUID.String()
	if op != kms.Stage || c.Staged[id] != Due {
		return nil, codes.Fail(kms.Exists.Code(), "nothing is due")
	}
	c.Staged[id] = string(offers[0].Secret.Reveal())
	return &kms.Grant{Volumes: []kms.Granted{{UUID: wants[0].UUID, Status: kms.OK}}, Pin: c.pins[0]}, nil
}

// Report commits what was staged, as the real one does.
func (c *client) Report(_ context.Context, _ string, _ *kms.Grant, results []kms.Result) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Deaf {
		return errors.New("the report is lost")
	}
	c.Reports = append(c.Reports, results...)
	for _, r := range results {
		id := r.UUID.String()
		if r.Outcome == kms.OpenedStaged && c.Staged[id] != "" {
			c.Keys[id], c.Staged[id] = c.Staged[id], ""
		}
	}
	return nil
}

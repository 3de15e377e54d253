package bench

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"sync/atomic"
	"time"

	kairoskeeper "latchkey/kms/server/kairos/keeper"

	"github.com/gorilla/websocket"

	"latchkey/kms/server/kairos"
	"latchkey/kms/server/kairos/kairostest"
)

// kairosFleet is machines of Kairos, the new exchange, RSA-2048 keys. A
// machine makes an attestation key for each connection; here they are made
// beforehand, of primes in common, since only the KMS is measured.
type kairosFleet struct {
	b      *Load
	keys   []*rsa.PrivateKey
	next   atomic.Int64
	eks    []*rsa.PrivateKey
	primes []*big.Int
}

// kairosPrimes make 3,160 pairs: as many attestation keys as a run may use.
const kairosPrimes = 80

// errSpent: all keys were shown; the run ends early.
var errSpent = errors.New("all attestation keys that were made beforehand are spent")

func newKairosFleet(b *Load) (fleet, error) {
	f := &kairosFleet{b: b, primes: make([]*big.Int, kairosPrimes)}
	for i := range f.primes {
		p, err := prime()
		if err != nil {
			return nil, err
		}
		f.primes[i] = p
	}

	for i := range f.primes {
		for j := range i {
			key, err := rsaOf(f.primes[i], f.primes[j])
			if err != nil {
				return nil, err
			}
			f.keys = append(f.keys, key)
		}
	}

	// Endorsement keys come from the same pairs; a few machines do.
	f.eks, f.keys = f.keys[:kairosMachines], f.keys[kairosMachines:]
	return f, nil
}

// kairosMachines is how many machines of Kairos there are, whatever --nodes.
const kairosMachines = 32

// prime is one of 1,024 bits whose two highest bits are set, so that a
// product of two has 2,048, and that is right for the exponent 65537.
func prime() (*big.Int, error) {
	for {
		p, err := rand.Prime(rand.Reader, 1024)
		if err != nil {
			return nil, err
		}
		less := new(big.Int).Sub(p, big.NewInt(1))
		if new(big.Int).GCD(nil, nil, less, big.NewInt(65537)).IsInt64() {
			return p, nil
		}
	}
}

func rsaOf(p, q *big.Int) (*rsa.PrivateKey, error) {
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	d := new(big.Int).ModInverse(big.NewInt(65537), phi)
	if d == nil {
		return nil, errors.New("making an RSA key: the exponent has no inverse")
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: d, Primes: []*big.Int{p, q}}
	key.Precompute()
	return key, nil
}

// The KMS encrypts a credential to the endorsement key and checks the
// quote's signature.
var bareKairos = []string{"RSA-2048 public", "RSA-2048 verify"}

func (f *kairosFleet) runs() []workload {
	return []workload{{"kairos exchanges", f.get, bareKairos, nil}}
}

// A kairosTPM has its attestation keys from the fleet.
type kairosTPM struct {
	*kairostest.Soft
	f *kairosFleet
}

// NewAK implements kairostest.TPM.
func (t kairosTPM) NewAK() (kairostest.AK, error) {
	i := int(t.f.next.Add(1)) - 1
	if i >= len(t.f.keys) {
		return nil, errSpent
	}
	return t.Soft.WithAK(t.f.keys[i]), nil
}

func (f *kairosFleet) node(i int) *kairostest.Node {
	m := i % kairosMachines
	soft := &kairostest.Soft{
		EK: f.eks[m], Attributes: "\x00\x05\x04\x72", PCRs: map[int][32]byte{}, Clock: 1000, Safe: 1, Magic: 0xff544347, Kind: 0x8018,
		Selection: []byte{0, 0, 0, 1, 0, 0x0b, 3, 0x81, 0x08, 0},
	}
	d := &websocket.Dialer{NetDialContext: dialer(i).DialContext, HandshakeTimeout: 10 * time.Second}
	return &kairostest.Node{URL: f.b.url, TPM: kairosTPM{soft, f}, Want: kairos.Request{Label: "COS_PERSISTENT"}, Dialer: d}
}

func (f *kairosFleet) enroll(ctx context.Context, i int) error {
	if i >= kairosMachines {
		return nil
	}
	n := f.node(i)
	if r, err := n.Attest(); err != nil || r.Passphrase != "" {
		return fmt.Errorf("a machine that nobody knows got %+v: %w", r, err)
	}
	var done kairoskeeper.Node
	return f.b.call(ctx, "POST", "/v1/kairos/approve", url.Values{"hash": {kairostest.HashOf(n.TPM)}}, nil, &done)
}

func (f *kairosFleet) get(_ context.Context, i int) error {
	r, err := f.node(i).Attest()
	if err == nil && r.Passphrase == "" {
		err = fmt.Errorf("the KMS answered %+v", r)
	}
	return err
}

package bench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
)

// tangFleet is clients of tang: a connection for each recovery, as clevis
// makes it.
type tangFleet struct {
	b      *Load
	curve  string // of the exchange key; empty: tang's
	key    tang.Key
	points []tangPoint
	tangd  *tangd // nil: there is no Debian to compare with
}

// tangPoint is a request, and what its product must be.
type tangPoint struct {
	body []byte
	x    string
}

// tangPoints is how many different points are sent.
const tangPoints = 32

func newTangFleet(b *Load) (fleet, error) { return tangOn(b, "") }

func newTangP256Fleet(b *Load) (fleet, error) { return tangOn(b, "P-256") }

func tangOn(b *Load, curve string) (fleet, error) {
	f := &tangFleet{b: b, curve: curve}
	var err error
	if b.Debian != "" {
		f.tangd, err = startTangd(b.Debian)
	}
	return f, err
}

func (f *tangFleet) enroll(ctx context.Context, i int) error {
	if i > 0 {
		return nil
	}
	reply, err := http.Get(f.b.url + "/adv")
	if err != nil {
		return err
	}
	reply.Body.Close() // a pair is made by now
	if f.curve != "" {
		if err := f.b.call(ctx, "POST", "/v1/tang/rotate", url.Values{"curve": {f.curve}}, nil, &[]tangkeeper.Key{}); err != nil {
			return err
		}
	}
	var keys []tangkeeper.Key
	if err := f.b.call(ctx, "GET", "/v1/tang/keys", nil, nil, &keys); err != nil {
		return err
	}
	var files tangkeeper.Files
	if err := f.b.call(ctx, "POST", "/v1/tang/export", nil, nil, &files); err != nil {
		return err
	}
	for _, file := range files.Files {
		p, err := tang.ParsePrivate(file.JWK)
		if err != nil {
			return err
		}
		if p.Recovers() && p.Crv == cmp.Or(f.curve, tang.DefaultCurve) {
			f.key = p.Key
		}
		if f.tangd != nil {
			if err := f.tangd.put(p.Thumbprint(), file.JWK); err != nil {
				return err
			}
		}
	}
	return f.makePoints()
}

func (f *tangFleet) makePoints() error {
	raw := []byte{4}
	for _, text := range []string{f.key.X, f.key.Y} {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		raw = append(raw, b...)
	}
	curve := ecdh.P521()
	if f.key.Crv == "P-256" {
		curve = ecdh.P256()
	}
	theirs, err := curve.NewPublicKey(raw)
	if err != nil {
		return err
	}
	for range tangPoints {
		ours, err := curve.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		shared, err := ours.ECDH(theirs)
		if err != nil {
			return err
		}
		p, encode := ours.PublicKey().Bytes()[1:], base64.RawURLEncoding.EncodeToString
		body, err := json.Marshal(tang.Key{Alg: "ECMR", Crv: f.key.Crv, KeyOps: []string{"deriveKey"}, Kty: "EC", X: encode(p[:len(p)/2]), Y: encode(p[len(p)/2:])})
		if err != nil {
			return err
		}
		f.points = append(f.points, tangPoint{body, encode(shared)})
	}
	return nil
}

func (f *tangFleet) runs() []workload {
	name, bare := "tang recoveries on P-521", "P-521 ECDH"
	if f.curve != "" {
		name, bare = "tang recoveries on P-256", "P-256 ECDH"
	}
	all := []workload{{name: name, ask: func(ctx context.Context, i int) error { return f.recover(ctx, f.b.url, i) }, bare: []string{bare}}}
	if f.tangd != nil {
		all = append(all, workload{name: "tangd: " + name + ", a process for each", ask: func(ctx context.Context, i int) error { return f.recover(ctx, f.tangd.url, i) }, cpu: f.tangd.cpu})
	}
	return all
}

func (f *tangFleet) recover(ctx context.Context, base string, i int) error {
	d, p := dialer(i), f.points[i%tangPoints]
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
		return d.DialContext(ctx, network, to)
	}}}
	r, err := http.NewRequestWithContext(ctx, "POST", base+"/rec/"+f.key.Thumbprint(), bytes.NewReader(p.body))
	if err != nil {
		return err
	}
	reply, err := client.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	var product tang.Key
	if err := json.Unmarshal(text, &product); reply.StatusCode != http.StatusOK || err != nil || product.X != p.x {
		return fmt.Errorf("status %d, or another product than it must be", reply.StatusCode)
	}
	return nil
}

// close ends the tangd.
func (f *tangFleet) close() {
	if f.tangd != nil {
		f.tangd.close()
	}
}

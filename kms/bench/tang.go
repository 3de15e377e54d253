package bench

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
)

// tangFleet is clients of tang: a connection for each recovery, as clevis
// makes it.
type tangFleet struct {
	b      *Load
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

func newTangFleet(b *Load) (fleet, error) {
	f := &tangFleet{b: b}
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
		if p.Recovers() {
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
	theirs, err := ecdh.P521().NewPublicKey(raw)
	if err != nil {
		return err
	}
	for range tangPoints {
		ours, err := ecdh.P521().GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		shared, err := ours.ECDH(theirs)
		if err != nil {
			return err
		}
		p, encode := ours.PublicKey().Bytes()[1:], base64.RawURLEncoding.EncodeToString
		body, err := json.Marshal(tang.Key{Alg: "ECMR", Crv: "P-521", KeyOps: []string{"deriveKey"}, Kty: "EC", X: encode(p[:66]), Y: encode(p[66:])})
		if err != nil {
			return err
		}
		f.points = append(f.points, tangPoint{body, encode(shared)})
	}
	return nil
}

func (f *tangFleet) runs() []workload {
	all := []workload{{name: "tang recoveries", ask: func(ctx context.Context, i int) error { return f.recover(ctx, f.b.url, i) }, bare: []string{"P-521 ECDH"}}}
	if f.tangd != nil {
		all = append(all, workload{name: "tangd recoveries, a process for each", ask: func(ctx context.Context, i int) error { return f.recover(ctx, f.tangd.url, i) }, cpu: f.tangd.cpu})
	}
	return all
}

func (f *tangFleet) recover(ctx context.Context, url string, i int) error {
	d, p := dialer(i), f.points[i%tangPoints]
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
		return d.DialContext(ctx, network, to)
	}}}
	r, err := http.NewRequestWithContext(ctx, "POST", url+"/rec/"+f.key.Thumbprint(), bytes.NewReader(p.body))
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

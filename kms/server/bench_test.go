package server_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
)

// BenchmarkChallenge is M1 to M2 in the handler, without the network; its
// TPM never answers. One operation is one challenge.
func BenchmarkChallenge(b *testing.B) {
	f := newKMS(b)
	m1 := helloOf(b, f)
	h := f.Handler()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if status, _ := post(h, kms.ChallengePath, m1); status != http.StatusOK {
				b.Errorf("status %d", status)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "challenges/s")
}

// BenchmarkRedeem is M3 to M4 for an approved node, many at once, with the
// audit record on disk.
func BenchmarkRedeem(b *testing.B) {
	f := newKMS(b)
	node := f.approved()
	w := f.through(&wire{})
	var m3s [][]byte

	w.request = func(path string, body []byte) []byte {
		if path == kms.RedeemPath {
			m3s = append(m3s, bytes.Clone(body))
			return nil // kept back
		}
		return body
	}

	for range min(b.N, 20_000) {
		f.get(node)
		w.bodies = nil
	}
	next := make(chan []byte, len(m3s))
	for _, m3 := range m3s {
		next <- m3
	}

	close(next)
	h := f.Handler()
	b.SetParallelism(32)
	b.ResetTimer()

	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if m3, ok := <-next; ok {
				post(h, kms.RedeemPath, m3)
			}
		}
	})
}

// helloOf records the M1 of a machine.
func helloOf(b testing.TB, f *fixture) (m1 []byte) {
	b.Helper()
	w := &wire{Handler: f.Handler()}
	w.request = func(_ string, body []byte) []byte {
		m1 = bytes.Clone(body)
		return body
	}
	tpm, err := softtpm.New()
	if err != nil {
		b.Fatal(err)
	}
	c := &kms.Client{Pins: f.Pins()}
	c.Get(context.Background(), serveHTTP(b, w), mute{tpm}, wants())
	return m1
}

// mute is a TPM that does not activate.
type mute struct{ *softtpm.TPM }

func (mute) Activate(context.Context, []byte, []byte) (secret.Bytes, error) {
	return secret.Bytes{}, errors.New("no")
}

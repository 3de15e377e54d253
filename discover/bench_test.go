package discover_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

// BenchmarkCandidate measures from a link's address to the first
// candidate, our responder being on the other end of the cable, beside
// one ping.
func BenchmarkCandidate(b *testing.B) {
	testlan.Need(b, "ping")
	bin := testlan.Build(b, "latchkey/cmd/latchkey-responder")
	lan := cable(b)
	lan.Start(bin, "--host", "kms.local", "--target", "192.0.2.5:8443", "--check", "off")
	link := discover.Interface{Index: index(b, "eth0"), Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}}
	for name, q := range map[string]discover.Query{
		"host":    {URLs: []string{"http://kms.local"}},
		"service": {Services: []string{"_latchkey._tcp"}},
	} {
		b.Run(name, func(b *testing.B) {
			addressToCandidate(b, q, link) // the first one waits until it has probed
			var took time.Duration
			rounds := 0
			for b.Loop() {
				rounds++
				took += addressToCandidate(b, q, link)
			}
			b.ReportMetric(float64(took.Microseconds())/1000/float64(rounds), "ms/candidate")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func addressToCandidate(b *testing.B, q discover.Query, link discover.Interface) time.Duration {
	b.Helper()
	f, err := discover.NewFinder(q, discover.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	start := time.Now()
	f.Update([]discover.Interface{link})
	_, err = f.Next(ctx)
	took := time.Since(start)
	cancel()
	<-done
	if err != nil {
		b.Fatal(err)
	}

	return took
}

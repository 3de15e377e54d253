package discover_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"latchkey/discover"
)

// A finder offers what it finds, one candidate after the other; one that was
// of no use is set aside and offered again later.
func ExampleFinder() {
	finder, err := discover.NewFinder(discover.Query{
		URLs:     []string{"http://192.0.2.5", "http://kms.local", "http://kms.example.com:8443"},
		Services: []string{"_latchkey._tcp"},
	}, discover.System{Shared: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go finder.Run(ctx)
	go discover.WatchInterfaces(ctx, nil, func(links []discover.Interface) {
		finder.Update(append(links, discover.HostServers()))
	})

	candidate, err := finder.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(candidate.Addr, candidate.Source)
	finder.SetAside(candidate, discover.AsideTime)
	// Output: 192.0.2.5:7741 url
}

// A responder answers for a key server that cannot do so itself.
func ExampleResponder() {
	responder, err := discover.NewResponder([]discover.Announcement{{
		Host:     "kms.local",
		Addrs:    []netip.Addr{netip.MustParseAddr("192.0.2.5")},
		Port:     8443,
		Services: []string{"_latchkey._tcp"},
	}}, discover.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithCancel(context.Background())
	go discover.WatchInterfaces(ctx, []string{"en*", "eth*"}, responder.Update)
	go responder.Run(ctx) // until the end, when it says goodbye
	for _, a := range responder.Announcements() {
		fmt.Println(a.Host, a.Instance, a.Addrs, a.Port)
	}
	cancel()
	// Output: kms.local kms [192.0.2.5] 8443
}

// What cannot be announced is refused with the reason.
func ExampleNewResponder() {
	_, err := discover.NewResponder([]discover.Announcement{{Host: "kms.example.com"}}, discover.System{}, slog.New(slog.DiscardHandler))
	fmt.Println(err)
	// Output: announcing "kms.example.com": host "kms.example.com" is not a name such as kms.local
}

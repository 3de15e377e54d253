package discover_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/brutella/dnssd"
	"github.com/grandcat/zeroconf"
	"github.com/hashicorp/mdns"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

// peerEnv makes this test program a peer on the LAN: a server or client
// of another library.
const peerEnv = "LATCHKEY_TEST_MDNS_PEER"

func TestMain(m *testing.M) {
	if peer := os.Getenv(peerEnv); peer != "" {
		log.SetOutput(io.Discard)
		if err := peers[peer](); err != nil {
			fmt.Fprintln(os.Stderr, peer, err)
			os.Exit(1)
		}
		return
	}
	testlan.Main(m)
}

var peers = map[string]func() error{
	"hashicorp-server": func() error {
		zone, err := mdns.NewMDNSService("kms", "_latchkey._tcp", "local.", "kms.local.", 8443, []net.IP{net.IPv4(192, 0, 2, 1)}, []string{"v=1"})
		if err != nil {
			return err
		}
		_, err = mdns.NewServer(&mdns.Config{Zone: zone, Iface: lan0()})
		return forever(err)
	},
	"grandcat-server": func() error {
		_, err := zeroconf.RegisterProxy("kms", "_latchkey._tcp", "local.", 8443, "kms", []string{"192.0.2.1"}, []string{"v=1"}, []net.Interface{*lan0()})
		return forever(err)
	},
	"brutella-server": func() error {
		service, err := dnssd.NewService(dnssd.Config{Name: "kms", Type: "_latchkey._tcp", Host: "kms", Port: 8443, Ifaces: []string{"lan0"}, Text: map[string]string{"v": "1"}})
		if err != nil {
			return err
		}
		responder, err := dnssd.NewResponder()
		if err != nil {
			return err
		}
		if _, err := responder.Add(service); err != nil {
			return err
		}
		return responder.Respond(context.Background())
	},
	"hashicorp-client": func() error {
		entries := make(chan *mdns.ServiceEntry, 16)
		p := &mdns.QueryParam{Service: "_latchkey._tcp", Domain: "local", Timeout: time.Second, Interface: lan0(), Entries: entries, DisableIPv6: true}
		err := mdns.Query(p)
		close(entries)
		for e := range entries {
			fmt.Println(e.Host, e.AddrV4, e.Port, e.InfoFields)
		}
		return err
	},
	"grandcat-client": func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		resolver, err := zeroconf.NewResolver(zeroconf.SelectIfaces([]net.Interface{*lan0()}))
		if err != nil {
			return err
		}

		entries := make(chan *zeroconf.ServiceEntry)
		if err := resolver.Browse(ctx, "_latchkey._tcp", "local.", entries); err != nil {
			return err
		}

		for e := range entries {
			fmt.Println(e.HostName, e.AddrIPv4, e.Port, e.Text)
			return nil
		}
		return nil
	},
	"brutella-client": func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		dnssd.LookupType(ctx, "_latchkey._tcp.local.", func(e dnssd.BrowseEntry) {
			fmt.Println(e.Host, e.IPs, e.Port, e.Text)
			cancel()
		}, func(dnssd.BrowseEntry) {})
		return nil
	},
}

func lan0() *net.Interface {
	i, err := net.InterfaceByName("lan0")
	if err != nil {
		panic(err)
	}
	return i
}

func forever(err error) error {
	if err != nil {
		return err
	}
	select {}
}

// as starts or runs this program as a peer.
func as(t *testing.T, peer string) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{peerEnv + "=" + peer, exe}
}

// Servers of other libraries are found. hashicorp/mdns and grandcat answer
// for no host name, so the service is asked for.
//
// compatible: Discovery | brutella/dnssd, grandcat/zeroconf, hashicorp/mdns | servers are found
func TestFindOthers(t *testing.T) {
	testlan.Need(t)
	for _, peer := range []string{"hashicorp-server", "grandcat-server", "brutella-server"} {
		t.Run(peer, func(t *testing.T) {
			lan := cable(t)
			lan.Start("env", as(t, peer)...)
			f := find(t, discover.Query{Services: []string{"_latchkey._tcp"}})
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			for {
				c, err := f.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if c.Addr == netip.MustParseAddrPort("192.0.2.1:8443") && strings.HasPrefix(c.Host, "kms") {
					return
				}
			}
		})
	}
}

// Clients of other libraries find our responder.
//
// compatible: Discovery | brutella/dnssd, grandcat/zeroconf, hashicorp/mdns | clients find our responder
func TestFoundByOthers(t *testing.T) {
	testlan.Need(t)
	lan := cable(t)
	respond(t, []string{"eth0"}, discover.Announcement{
		Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Port: 8443, Services: []string{"_latchkey._tcp"}, Text: []string{"v=1"},
	})
	lan.Run("ip", "route", "add", "224.0.0.0/4", "dev", "lan0") // hashicorp/mdns listens on any link
	ours := find(t, discover.Query{URLs: []string{"http://kms.local"}})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := ours.Next(ctx); err != nil {
		t.Fatal(err) // it has not probed
	}

	for _, peer := range []string{"hashicorp-client", "grandcat-client", "brutella-client"} {
		t.Run(peer, func(t *testing.T) {
			// What was said to another client within the last second is not
			// repeated (RFC 6762, section 6), and not all ask twice.
			out := ""
			for range 3 {
				if out = lan.Run("env", as(t, peer)...); out != "" {
					break
				}
			}
			if !strings.Contains(out, "kms") || !strings.Contains(out, "192.0.2.5") || !strings.Contains(out, "8443") {
				t.Errorf("it found %q, want kms, 192.0.2.5 and 8443", out)
			}
		})
	}
}

package initramfs

import (
	"fmt"
	"strings"
	"time"

	"latchkey/internal/plan"
)

// A TalosKMSConfig says which KMS of Talos is asked, and for what.
type TalosKMSConfig struct {
	URL    []string      `yaml:"url"` // as Talos has it: https://host[:port], grpc://host:port
	Node   string        `yaml:"node"`
	Sealed []string      `yaml:"sealed"`
	CA     []string      `yaml:"ca"`  // files, or certificates as PEM
	Pin    []string      `yaml:"pin"` // as plan.TLS has them
	Wait   time.Duration `yaml:"wait"`

	certificates, urls []string // of CA and URL, as the plan has them
}

// A TalosNodeConfig is of a volume that opens by the machine's identity.
type TalosNodeConfig struct {
	Volume string `yaml:"volume"` // what Talos calls it
	Node   string `yaml:"node"`
}

// read reads the files, and the URLs as Talos does: one without a scheme is in
// the clear (internal/pkg/endpoint of Talos).
func (c *TalosKMSConfig) read(of *Config) (err error) {
	for i, u := range c.URL {
		scheme, rest, ok := strings.Cut(u, "://")
		if !ok {
			scheme, rest = "grpc", u
		}
		rest = strings.TrimSuffix(rest, "/")
		port := strings.Contains(rest[strings.LastIndexByte(rest, ']')+1:], ":")
		switch {
		case scheme == "https" && !port:
			rest += ":443"
		case scheme == "https":
		case scheme == "grpc" && port:
			scheme = "http"
		case scheme == "grpc":
			return fmt.Errorf("url[%d] is %.80q, want a port: grpc://host:4050", i, u)
		default:
			return fmt.Errorf("url[%d] is %.80q, want https:// or grpc://", i, u)
		}
		c.urls = append(c.urls, scheme+"://"+rest)
	}
	c.certificates, err = of.readCAs(c.CA)
	return err
}

func (c SourceConfig) talosWord() string {
	switch {
	case c.TalosKMS != nil:
		return plan.SourceTalosKMS
	case c.TalosTPM != nil:
		return plan.SourceTalosTPM
	case c.TalosNode != nil:
		return plan.SourceTalosNode
	}
	return ""
}

// talos adds to the plan what a source says. It counts for all volumes.
func (c SourceConfig) talos(p *plan.Plan) {
	t := &p.Talos
	if k := c.TalosKMS; k != nil {
		t.KMS, t.Sealed = union(t.KMS, k.urls), union(t.Sealed, lowered(k.Sealed))
		t.TLS.CA, t.TLS.Pins = union(t.TLS.CA, k.certificates), union(t.TLS.Pins, k.Pin)
		t.Wait = max(t.Wait, k.Wait)
		if k.Node != "" {
			t.Node = k.Node
		}
	}
	if c.TalosTPM != nil {
		t.Sealed = union(t.Sealed, lowered(c.TalosTPM.Sealed))
	}
	if c.TalosNode != nil && c.TalosNode.Node != "" {
		t.Node = c.TalosNode.Node
	}
}

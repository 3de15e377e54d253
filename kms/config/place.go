package config

import (
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"latchkey/internal/cli"
	"latchkey/internal/kube"
)

// A Place is where a store is: --store, --from, --to.
//
//	bolt:PATH
//	etcd:https://a:2379,b:2379[/PREFIX]
//	kube:NAMESPACE[/NAME]
//
// What else is needed to get there stands behind a question mark, or in
// flags of its own.
type Place struct {
	Kind      PlaceKind
	Path      string   // bolt: the file
	AnyMode   bool     // bolt: whatever the file's mode is
	Endpoints []string // etcd: URLs
	Prefix    string   // etcd: of all keys
	CA        string   // files, PEM
	Cert, Key string
	MaxOps    int // etcd: its --max-txn-ops

	Namespace, Name string // kube
	Server, Token   string // kube: URL and file, outside of a pod
}

// A PlaceKind is a kind of store.
type PlaceKind string

// Kinds of stores.
const (
	Bolt PlaceKind = "bolt" // a file; one server
	Etcd PlaceKind = "etcd"
	Kube PlaceKind = "kube" // Secrets of a Kubernetes cluster
)

// defaultPrefix is where in etcd a KMS is.
const defaultPrefix = "latchkey"

// ParsePlace reads a place. The files to get there are those of or, if it
// names none.
func ParsePlace(text string, or Place) (Place, error) {
	kind, rest, _ := strings.Cut(text, ":")
	p := Place{Kind: PlaceKind(kind), CA: or.CA, Cert: or.Cert, Key: or.Key}
	switch p.Kind {
	case Bolt:
		if p.Path = rest; rest == "" {
			return p, cli.Usagef("store %q: name the file: bolt:/var/lib/latchkey-kms/kms.db", text)
		}
		return p, nil
	case Etcd, Kube:
	default:
		return p, cli.Usagef("store %q: must be bolt:PATH or etcd:https://HOST:2379,HOST:2379/PREFIX or kube:NAMESPACE", text)
	}

	where, query, _ := strings.Cut(rest, "?")
	if err := p.parameters(text, query); err != nil {
		return p, err
	}

	if (p.Cert == "") != (p.Key == "") {
		return p, cli.Usagef("store %q: a client certificate and its key belong together", text)
	}
	if p.Kind == Kube {
		return p, p.parseKube(text, where)
	}

	return p, p.parseEtcd(text, where)
}

// parseKube reads NAMESPACE[/NAME].
func (p *Place) parseKube(text, where string) error {
	var named bool
	if p.Namespace, p.Name, named = strings.Cut(where, "/"); !named {
		p.Name = kube.DefaultStore
	}
	if !kube.IsStoreName(p.Name) || !kube.IsLabel(p.Namespace) {
		return cli.Usagef("store %q: must be kube:NAMESPACE or kube:NAMESPACE/NAME, small letters, digits and dashes", text)
	}
	if p.Server != "" && !strings.HasPrefix(p.Server, "https://") {
		return cli.Usagef("store %q: server is a URL that begins with https://", text)
	}
	return nil
}

// parameters are those behind the question mark.
func (p *Place) parameters(text, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return cli.Usagef("store %q: what follows the question mark is not key=value&key=value", text)
	}

	for name, all := range values {
		value := all[len(all)-1]
		switch name {
		case "ca":
			p.CA = value
		case "cert":
			p.Cert = value
		case "key":
			p.Key = value

		case "server":
			p.Server = value
		case "token":
			p.Token = value
		case "max-txn-ops":
			if p.MaxOps, err = strconv.Atoi(value); err != nil || p.MaxOps < 32 || p.MaxOps > 100_000 {
				return cli.Usagef("store %q: max-txn-ops must be 32 to 100000, and what etcd was started with", text)
			}

		default:
			return cli.Usagef("store %q: there is no parameter %q; only ca, cert, key, max-txn-ops (etcd), server, token (kube)", text, name)
		}
	}

	return nil
}

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)

// parseEtcd reads the addresses; the first one's scheme is that of those
// that have none.
func (p *Place) parseEtcd(text, where string) error {
	scheme := ""
	addresses := strings.Split(where, ",")
	for i, a := range addresses {
		if before, after, ok := strings.Cut(a, "://"); ok {
			scheme, a = before, after
		}
		if i == len(addresses)-1 {
			a, p.Prefix, _ = strings.Cut(a, "/")
		}

		if !slices.Contains([]string{"https", "http"}, scheme) {
			return cli.Usagef("store %q: addresses of etcd begin with https://", text)
		}
		if _, _, err := net.SplitHostPort(a); err != nil {
			a = net.JoinHostPort(strings.Trim(a, "[]"), "2379")
		}

		if u, err := url.Parse(scheme + "://" + a); err != nil || u.Hostname() == "" || u.Host != a || u.User != nil {
			return cli.Usagef("store %q: %q is not HOST:PORT", text, a)
		}
		p.Endpoints = append(p.Endpoints, scheme+"://"+a)
	}

	if p.Prefix = strings.Trim(p.Prefix, "/"); p.Prefix == "" {
		p.Prefix = defaultPrefix
	}
	if !prefixForm.MatchString(p.Prefix) || path.Clean("/"+p.Prefix) != "/"+p.Prefix { // nor . and ..
		return cli.Usagef("store %q: the prefix may have letters, digits, dots, dashes and slashes", text)
	}

	return nil
}

// Shared tells whether several key servers may use it at once.
func (p Place) Shared() bool { return p.Kind != Bolt }

// String is the place without its parameters.
func (p Place) String() string {
	if p.Kind == Bolt {
		return "bolt:" + p.Path
	}
	if p.Kind == Kube {
		return "kube:" + p.Namespace + "/" + p.Name
	}
	return string(p.Kind) + ":" + strings.Join(p.Endpoints, ",") + "/" + p.Prefix
}

package main

import (
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"latchkey/internal/cli"
	kubeapi "latchkey/internal/kube"
	"latchkey/kms/store/kube"
)

// A place is where a store is: --store, --from, --to.
//
//	bolt:PATH
//	etcd:https://a:2379,b:2379[/PREFIX]
//	kube:NAMESPACE[/NAME]
//
// What else is needed to get there stands behind a question mark, or in
// flags of its own.
type place struct {
	kind      string   // bolt, etcd, kube
	path      string   // bolt: the file
	endpoints []string // etcd: URLs
	prefix    string   // etcd: of all keys
	ca        string   // files, PEM
	cert, key string
	maxOps    int // etcd: its --max-txn-ops

	namespace, name string // kube
	server, token   string // kube: URL and file, outside of a pod
}

// defaultPrefix is where in etcd a KMS is.
const defaultPrefix = "latchkey"

// parsePlace reads a place; the section's files are what it does not say.
func parsePlace(text string, files storeSection) (place, error) {
	kind, rest, _ := strings.Cut(text, ":")
	p := place{kind: kind, ca: files.CA, cert: files.Certificate, key: files.Key}
	switch kind {
	case "bolt":
		if p.path = rest; rest == "" {
			return p, cli.Usagef("store %q: name the file: bolt:/var/lib/latchkey-kms/kms.db", text)
		}
		return p, nil
	case "etcd", "kube":
	default:
		return p, cli.Usagef("store %q: must be bolt:PATH or etcd:https://HOST:2379,HOST:2379/PREFIX or kube:NAMESPACE", text)
	}

	where, query, _ := strings.Cut(rest, "?")
	if err := p.parameters(text, query); err != nil {
		return p, err
	}

	if (p.cert == "") != (p.key == "") {
		return p, cli.Usagef("store %q: a client certificate and its key belong together", text)
	}
	if kind == "kube" {
		return p, p.parseKube(text, where)
	}

	return p, p.parseEtcd(text, where)
}

// parseKube reads NAMESPACE[/NAME].
func (p *place) parseKube(text, where string) error {
	var named bool
	if p.namespace, p.name, named = strings.Cut(where, "/"); !named {
		p.name = kube.DefaultName
	}
	if !kube.IsName(p.name) || !kubeapi.IsLabel(p.namespace) {
		return cli.Usagef("store %q: must be kube:NAMESPACE or kube:NAMESPACE/NAME, small letters, digits and dashes", text)
	}
	if p.server != "" && !strings.HasPrefix(p.server, "https://") {
		return cli.Usagef("store %q: server is a URL that begins with https://", text)
	}
	return nil
}

// parameters are those behind the question mark.
func (p *place) parameters(text, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return cli.Usagef("store %q: what follows the question mark is not key=value&key=value", text)
	}

	for name, all := range values {
		value := all[len(all)-1]
		switch name {
		case "ca":
			p.ca = value
		case "cert":
			p.cert = value
		case "key":
			p.key = value

		case "server":
			p.server = value
		case "token":
			p.token = value
		case "max-txn-ops":
			if p.maxOps, err = strconv.Atoi(value); err != nil || p.maxOps < 32 || p.maxOps > 100_000 {
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
func (p *place) parseEtcd(text, where string) error {
	scheme := ""
	addresses := strings.Split(where, ",")
	for i, a := range addresses {
		if before, after, ok := strings.Cut(a, "://"); ok {
			scheme, a = before, after
		}
		if i == len(addresses)-1 {
			a, p.prefix, _ = strings.Cut(a, "/")
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
		p.endpoints = append(p.endpoints, scheme+"://"+a)
	}

	if p.prefix = strings.Trim(p.prefix, "/"); p.prefix == "" {
		p.prefix = defaultPrefix
	}
	if !prefixForm.MatchString(p.prefix) || path.Clean(p.prefix) != p.prefix {
		return cli.Usagef("store %q: the prefix may have letters, digits, dots, dashes and slashes", text)
	}

	return nil
}

// shared tells whether several key servers may use it at once.
func (p place) shared() bool { return p.kind != "bolt" }

// String is the place without its parameters.
func (p place) String() string {
	if p.kind == "bolt" {
		return "bolt:" + p.path
	}
	if p.kind == "kube" {
		return "kube:" + p.namespace + "/" + p.name
	}
	return p.kind + ":" + strings.Join(p.endpoints, ",") + "/" + p.prefix
}

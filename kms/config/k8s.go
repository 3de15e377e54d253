package config

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// DefaultKey is the key of a plugin that names none.
const DefaultKey = "kubernetes"

// A K8sPlugins is one KMS plugin for each cluster.
type K8sPlugins []K8sPlugin

// A K8sPlugin is a Unix socket for an API server, and the key that it gets.
type K8sPlugin struct {
	Socket string `yaml:"socket"` // path
	Key    string `yaml:"key"`    // name; default "kubernetes"
	Owner  string `yaml:"owner"`  // user or user:group, by name or number; default: who runs the server
	Mode   string `yaml:"mode"`   // octal, default "0600"
	// OtherCluster says that the API server that asks here is not that of
	// the cluster that our own store is in.
	OtherCluster bool `yaml:"other-cluster"`
	V1           bool `yaml:"v1"` // answer KMS v1 (v1beta1), too

	// What check made of the rest.
	UID, GID int         `yaml:"-"` // -1: unchanged
	Perm     os.FileMode `yaml:"-"`
}

func (s *K8sPlugins) check() error {
	seen := map[string]bool{}
	for i := range *s {
		p := &(*s)[i]
		if err := p.check(); err != nil {
			return under("["+strconv.Itoa(i)+"]", err)
		}
		if seen[p.Socket] {
			return faultf("["+strconv.Itoa(i)+"].socket", "%s is named twice", p.Socket)
		}
		seen[p.Socket] = true
	}
	return nil
}

func (p *K8sPlugin) check() (err error) {
	if !filepath.IsAbs(p.Socket) || len(p.Socket) > 100 {
		return faultf("socket", "%q is not an absolute path of at most 100 bytes", p.Socket)
	}
	if p.Key == "" {
		p.Key = DefaultKey
	}

	if len(p.Key) > 64 || strings.Trim(p.Key, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return faultf("key", "%q: a name has up to 64 lower-case letters, digits, - and .", p.Key)
	}
	if p.Mode == "" {
		p.Mode = "0600"
	}

	mode, err := strconv.ParseUint(p.Mode, 8, 32)
	if err != nil || mode&^0o660 != 0 {
		return faultf("mode", "%q must be at most 0660: who opens the socket decrypts the cluster's Secrets", p.Mode)
	}

	p.Perm = os.FileMode(mode)
	if p.UID, p.GID, err = ids(p.Owner); err != nil {
		return faultf("owner", "%w", err)
	}
	return nil
}

// checkStore refuses a plugin for the cluster that keeps our state: neither
// could start without the other.
func (s K8sPlugins) checkStore(kind PlaceKind) error {
	for i, p := range s {
		if kind == Kube && !p.OtherCluster {
			return faultf("k8s["+strconv.Itoa(i)+"].socket", "the store is in a cluster, too: if it is this one, neither could start without the other; if it is not, say other-cluster: true")
		}
	}
	return nil
}

// ids finds the numbers of user or user:group.
func ids(owner string) (uid, gid int, err error) {
	if owner == "" {
		return -1, -1, nil
	}
	name, group, both := strings.Cut(owner, ":")
	uid, err = strconv.Atoi(name)
	if err != nil {
		u, err := user.Lookup(name)
		if err != nil {
			return 0, 0, fmt.Errorf("there is no user %q", name)
		}
		uid, _ = strconv.Atoi(u.Uid)
	}

	if !both {
		return uid, -1, nil
	}
	if gid, err = strconv.Atoi(group); err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return 0, 0, fmt.Errorf("there is no group %q", group)
		}
		gid, _ = strconv.Atoi(g.Gid)
	}

	return uid, gid, nil
}

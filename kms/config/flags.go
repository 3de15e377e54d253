package config

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/wrapping"
)

// Flags put what was said on the command line over what the file says.
type Flags struct {
	file *string
	all  []flag

	Ask *wrapping.Asker // who is asked for shares of the wrapping key
}

// A flag sets a key of the configuration, if it was given.
type flag struct {
	set   *pflag.FlagSet
	name  string
	key   string // its path, for messages
	apply func(*Config) error
}

// LocationFlags adds the flags that say where a KMS is.
func LocationFlags(f *pflag.FlagSet) *Flags {
	flags := &Flags{file: f.String("config", "", "configuration file of the key server (YAML); flags override it")}
	data := f.String("data", DefaultData, "directory of keys and database")
	mark := f.String("mark", "", "file of the high-water mark, by which an old copy of the database is noticed; keep it on another disk (default: epoch in the data directory)")
	modes := f.Bool("strict-modes", true, "refuse a directory and a database that others may write to; =false where a share gives every file such a mode, with the wrapping key elsewhere")
	var s Store
	f.StringVar(&s.At, "store", "", "store of all state: bolt:PATH, etcd:https://HOST:2379,HOST:2379/PREFIX or kube:NAMESPACE (default: kms.db in the data directory)")
	f.StringVar(&s.CA, "store-ca", "", "PEM file of the CA of the store's certificate")
	f.StringVar(&s.Certificate, "store-cert", "", "PEM file of the client certificate for the store")
	f.StringVar(&s.Key, "store-key", "", "PEM file of the key of --store-cert")
	var w Wrapping
	f.StringVar(&w.Key, "wrapping-key", "", "file of the key that wraps the database's key (default: the systemd credential latchkey-kms.wrapping-key, else wrapping.key in the data directory)")
	f.StringVar(&w.Passphrase, "wrapping-passphrase", "", "file of a passphrase to derive the wrapping key from, instead of a key file")
	f.StringVar(&w.TPM, "wrapping-tpm", "", "TPM of this host that unseals the wrapping key (wrapping.tpm in the data directory), e.g. /dev/tpmrm0")

	flags.add(f, "data", "data", func(c *Config) error { c.Data = *data; return nil })
	flags.add(f, "mark", "mark", func(c *Config) error { c.Mark = *mark; return nil })
	flags.add(f, "strict-modes", "strict-modes", func(c *Config) error { c.Modes = modes; return nil })
	flags.add(f, "store", "store.at", func(c *Config) error { c.Store.At = s.At; return nil })
	flags.add(f, "store-ca", "store.ca", func(c *Config) error { c.Store.CA = s.CA; return nil })
	flags.add(f, "store-cert", "store.certificate", func(c *Config) error { c.Store.Certificate = s.Certificate; return nil })
	flags.add(f, "store-key", "store.key", func(c *Config) error { c.Store.Key = s.Key; return nil })
	for _, name := range []string{"wrapping-key", "wrapping-passphrase", "wrapping-tpm"} { // one way, whatever the file says
		flags.add(f, name, "wrapping", func(c *Config) error { c.Wrapping = w; return nil })
	}
	return flags
}

// Serve are these flags, and those of a server, which it adds.
func (flags *Flags) Serve(f *pflag.FlagSet) *Flags {
	listen := f.String("listen", fmt.Sprintf(":%d", kms.DefaultPort), "address to answer lk1, Kairos and tang on; none: do not (for Talos or Kubernetes alone)")
	spoken, names := []string{string(LK1)}, []string(nil)
	f.Var(cli.List(&spoken), "protocol", "protocols that machines may use: lk1, kairos, tang")
	sites := f.String("sites-listen", "", "address to answer the servers of sites on, e.g. :7744")
	remote := f.String("admin-listen", "", "address to serve the administration on, over HTTPS, e.g. :7743")
	talos := f.String("talos-listen", "", "address to answer machines of Talos Linux on (gRPC), e.g. :4050")
	socket := f.String("k8s-socket", "", "Unix socket to answer a Kubernetes API server on (KMS v2 plugin)")
	metrics := f.String("metrics-listen", "", "address for /metrics (Prometheus), /healthz and /readyz, e.g. 127.0.0.1:9742")
	cert := f.String("tls-cert", "", "PEM certificate of all listeners; lk1 is still answered without TLS, too")
	key := f.String("tls-key", "", "PEM key of --tls-cert")
	enroll := f.String("enroll", string(Approve), "what happens to unknown machines: approve, closed, cert or tofu")
	roots := f.String("ek-roots", "", "folder of TPM vendors' CA certificates and revocation lists, for --enroll cert")
	f.Var(cli.List(&names), "advertise", "name to announce by multicast DNS, ending in .local; repeatable")
	level := f.String("log-level", "info", "lowest level that is logged: debug, info, warn or error")
	format := f.String("log-format", LogText, "format of the log: text or json")
	back := f.String("store-write-back", "", "with a kube store and protocol kairos: write to the cluster what it does not list: volumes (SealedVolumes), or secrets (also generated passphrases, in clear)")

	all := &Flags{file: flags.file, all: slices.Clone(flags.all)}
	add := func(name, key string, apply func(*Config) error) { all.add(f, name, key, apply) }
	backupFlags(f, add)
	add("listen", "listen[0].address", func(c *Config) error { c.listenAt(*listen); return nil })
	add("sites-listen", "sites.address", func(c *Config) error { c.Sites.Address = *sites; return nil })
	add("admin-listen", "admin.address", func(c *Config) error { c.Admin.Address = *remote; return nil })
	add("talos-listen", "talos.address", func(c *Config) error { c.Talos.Address = *talos; return nil })
	add("k8s-socket", "k8s[0].socket", func(c *Config) error { c.K8s = K8sPlugins{{Socket: *socket}}; return nil })
	add("metrics-listen", "metrics.address", func(c *Config) error { c.Metrics.Address = *metrics; return nil })
	add("protocol", "protocol", func(c *Config) error { return c.limitTo(spoken) }) // the listeners are known by now
	for _, name := range []string{"tls-cert", "tls-key"} {
		add(name, "tls", func(c *Config) error { return c.setTLS(TLS{Certificate: *cert, Key: *key}) })
	}
	add("enroll", "enroll", func(c *Config) error { c.Enroll = Enrollment(*enroll); return nil })
	add("ek-roots", "ek.roots", func(c *Config) error { c.EK.Roots = *roots; return nil })
	add("advertise", "advertise", func(c *Config) error { c.Advertise = names; return nil })
	add("log-level", "log.level", func(c *Config) error { c.Log.Level = *level; return nil })
	add("log-format", "log.format", func(c *Config) error { c.Log.Format = *format; return nil })
	add("store-write-back", "store.write-back", func(c *Config) error { c.Store.WriteBack = WriteBack(*back); return nil })
	return all
}

func (flags *Flags) add(set *pflag.FlagSet, name, key string, apply func(*Config) error) {
	flags.all = append(flags.all, flag{set, name, key, apply})
}

// read reads the file and puts the flags over it.
func (flags *Flags) read() (*Config, error) {
	c, err := Read(*flags.file)
	if err != nil {
		return nil, err
	}
	for _, one := range flags.all {
		if one.set.Changed(one.name) {
			c.set(one.key, "--"+one.name)
			if err := one.apply(c); err != nil {
				return nil, &cli.Exit{Code: cli.Usage, Err: c.locate(err)}
			}
		}
	}
	return c, nil
}

// Location is where the KMS is. Of the configuration nothing else is judged.
func (flags *Flags) Location() (Location, error) {
	c, err := flags.read()
	if err != nil {
		return Location{}, err
	}
	l, err := c.Location()
	l.Ask = flags.Ask
	return l, err
}

// Config is the whole configuration, judged. Files that it names were read.
func (flags *Flags) Config() (*Config, error) {
	c, err := flags.read()
	if err != nil {
		return nil, err
	}
	return c, c.check()
}

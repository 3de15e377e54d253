package front

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A Certificate is a certificate and its key in two files, which may change
// while it is used: a pair that does not fit leaves the one before in use.
type Certificate struct {
	cert, key string
	refuses   string // what happens once it has ended
	log       *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	stamps [2]stamp // of the pair in use
	failed [2]stamp // of one that was wrong, and was said to be
	looked time.Time
	told   time.Time // when it was last said that it ends
}

// A stamp tells a file from the one that stood there before.
type stamp struct {
	size    int64
	changed time.Time
}

// lookEvery is how often a file is looked at, at most.
const lookEvery = time.Second

// LoadCertificate reads a pair of PEM files.
func LoadCertificate(cert, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, refuses: "clients refuse it", log: log}
	return c, c.load(c.stamp())
}

// LoadClientCertificate is LoadCertificate for one that is shown to the store.
func LoadClientCertificate(cert, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, refuses: "the store refuses new connections with it, and nothing is released then", log: log}
	return c, c.load(c.stamp())
}

// Config is for a server with this certificate, of at least one version of
// TLS.
func (c *Certificate) Config(version uint16) *tls.Config {
	return &tls.Config{MinVersion: version, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return c.current(), nil
	}}
}

// Expiry is when the certificate in use ends.
func (c *Certificate) Expiry() time.Time { return c.current().Leaf.NotAfter }

// File is where the certificate is.
func (c *Certificate) File() string { return c.cert }

// Look looks at the files now.
func (c *Certificate) Look() {
	c.mu.Lock()
	c.looked = time.Time{}
	c.mu.Unlock()
	c.current()
}

// current is the pair in use, after a look at the files.
func (c *Certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookEvery {
		return c.pair
	}

	c.looked = time.Now()
	if c.looked.Sub(c.told) >= tellEvery {
		c.tell()
	}
	now := c.stamp()
	if now == c.stamps {
		return c.pair
	}

	if err := c.load(now); err == nil {
		c.log.Info("certificate reloaded", "file", c.cert, "until", c.pair.Leaf.NotAfter)
	} else if now != c.failed { // a pair is replaced file by file: it may fit in a moment
		c.failed = now
		c.log.Warn("certificate not reloaded; the one before is used", "err", err)
	}

	return c.pair
}

func (c *Certificate) load(now [2]stamp) error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("reading certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.pair, c.stamps = &pair, now
	c.tell()
	return nil
}

// endsSoon is how long before its end a certificate is said to end, or a third
// of its life, if that is shorter; tellEvery how often.
const endsSoon, tellEvery = 14 * 24 * time.Hour, 24 * time.Hour

// tell says that nobody takes the certificate, or soon will not. It is served
// all the same: those who do not look at the date go on.
func (c *Certificate) tell() {
	leaf, now := c.pair.Leaf, time.Now()
	c.told = now
	switch left := leaf.NotAfter.Sub(now); {
	case left <= 0:
		c.log.Warn("certificate has ended: "+c.refuses+"; renew it, it is read again by itself", "file", c.cert, "until", leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		c.log.Warn("certificate is not valid yet: "+c.refuses+"; is this machine's clock right?", "file", c.cert, "from", leaf.NotBefore)
	case left < min(endsSoon, leaf.NotAfter.Sub(leaf.NotBefore)/3):
		c.log.Warn("certificate ends soon; renew it, it is read again by itself", "file", c.cert, "until", leaf.NotAfter)
	}
}

// stamp looks at both files; a missing one has the zero stamp.
func (c *Certificate) stamp() (s [2]stamp) {
	for i, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			s[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return s
}

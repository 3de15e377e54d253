package config

import (
	"cmp"
	"path/filepath"

	"latchkey/internal/cli"
	"latchkey/kms/wrapping"
)

// A Location is where a KMS is: what every command must know.
type Location struct {
	Data     string // directory
	Mark     string // file of the high-water mark; "" is epoch in the data directory
	Place    Place  // of the store
	Wrapping Wrapping
	Retained Retention
	AnyMode  bool            // the modes of files say nothing about who may read and write them
	Ask      *wrapping.Asker // who is there to be asked for shares; nil: nobody

	store Store
}

// Parse reads another place; the files to get there are those of the store
// if the place names none.
func (l Location) Parse(place string) (Place, error) {
	p, err := l.store.Parse(place)
	p.AnyMode = l.AnyMode
	return p, err
}

// Location is where the KMS of this configuration is.
func (c *Config) Location() (Location, error) {
	for name, s := range map[string]section{"store": &c.Store, "wrapping": &c.Wrapping, "retention": &c.Retention} {
		if err := s.check(); err != nil {
			return Location{}, &cli.Exit{Code: cli.Usage, Err: c.locate(under(name, err))}
		}
	}
	l, err := c.location()
	if err != nil {
		return l, &cli.Exit{Code: cli.Usage, Err: c.locate(err)}
	}
	return l, nil
}

func (c *Config) location() (Location, error) {
	l := Location{Data: cmp.Or(c.Data, DefaultData), Mark: c.Mark, Wrapping: c.Wrapping, Retained: c.Retention, store: c.Store, AnyMode: c.Modes != nil && !*c.Modes}
	if c.Store.At == "" {
		l.Place = Place{Kind: Bolt, Path: filepath.Join(l.Data, "kms.db"), AnyMode: l.AnyMode}
		return l, nil
	}
	var err error
	if l.Place, err = l.Parse(c.Store.At); err != nil {
		return l, faultf("store.at", "%w", err)
	}
	return l, nil
}

package main

import (
	"context"
	"errors"
	"fmt"

	"latchkey/boot/codes"
	"latchkey/internal/disk"
	"latchkey/internal/meminfo"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
)

// A oneVolume is the source.Opener of a running machine.
type oneVolume struct {
	file    *disk.File
	volume  unlock.Volume
	mapper  unlock.Mapper
	sources []namedSource

	by     string // the source that opened it
	opened *unlock.Opened
	failed error              // of the mapping: no other key would help
	end    context.CancelFunc // of the source that runs
}

type namedSource struct {
	name string
	source.Source
}

// open asks one source after the other until one opens the volume.
func (o *oneVolume) open(ctx context.Context) error {
	var all []error
	for _, s := range o.sources {
		run, end := context.WithCancel(ctx)
		o.end = end
		err := s.Run(run, o)
		end()
		if o.by = s.name; o.opened != nil || o.failed != nil {
			return o.failed
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = luks2.ErrWrongKey
		}
		all = append(all, fmt.Errorf("%s: %w", s.name, advise(err)))
	}
	return errors.Join(all...)
}

// Closed implements source.Opener.
func (o *oneVolume) Closed() []*unlock.Volume {
	if o.opened != nil {
		return nil
	}
	return []*unlock.Volume{&o.volume}
}

// Needed implements source.Opener.
func (o *oneVolume) Needed(*unlock.Volume) bool { return true }

// Try implements source.Opener: as the worker of a boot does.
func (o *oneVolume) Try(ctx context.Context, offer source.Offer) []error {
	if offer.Taken != nil {
		offer.Taken()
	}
	errs := make([]error, len(offer.Keys))
	for i, k := range offer.Keys {
		errs[i] = k.Err
		if k.Err == nil {
			errs[i] = o.try(ctx, k)
		}
	}
	return errs
}

func (o *oneVolume) try(ctx context.Context, k source.Key) error {
	if err := o.volume.Judge(k.Want); err != nil { // before a sealed key is asked of the TPM
		return err
	}
	keys, err := k.Passphrases(ctx)
	if err != nil {
		return err
	}
	defer wipeCandidates(keys)
	opened, err := o.volume.Open(ctx, o.file, keys, k.Want, luks2.NewMemory(meminfo.Available()), o.mapper)
	switch {
	case err == nil:
		o.opened = &opened
	case codes.Of(err) == unlock.CodeMap:
		o.failed = err
	default:
		return err
	}
	o.end() // who asks at a terminal asks no more
	return err
}

func wipeCandidates(keys []unlock.Candidate) {
	for _, k := range keys {
		k.Passphrase.Wipe()
	}
}

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
	"latchkey/unlock/source/together"
	"latchkey/unlock/tpm"
)

// A oneVolume is the source.Opener of a running machine.
type oneVolume struct {
	file    *disk.File
	volume  unlock.Volume
	mapper  unlock.Mapper
	sources []namedSource
	mixer   *together.Mixer // of the parts of its key; nil if each source opens it alone
	want    unlock.Expect   // what the sources of parts know of it

	by     string // the source that opened it
	opened *unlock.Opened
	chips  []*tpm.TPM
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
		o.end, o.by = end, s.name
		err := s.Run(run, o)
		end()
		o.closeChips()
		if o.opened != nil || o.failed != nil {
			return o.failed
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && o.mixer.Kept(s.name) {
			continue // and another one says what is missing
		}
		if err == nil {
			err = luks2.ErrWrongKey
		}
		all = append(all, fmt.Errorf("%s: %w", s.name, advise(err)))
	}
	if len(all) == 0 { // parts that no token puts together
		return luks2.ErrWrongKey
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
	defer func() { wipeCandidates(keys) }()
	if o.mixer.Has(o.by) {
		made, err := o.mix(k.Want, keys)
		if err != nil || len(made) == 0 {
			return err
		}
		wipeCandidates(keys)
		keys, k.Want = made, o.want
	}
	opened, err := o.volume.Open(ctx, o.file, keys, k.Want, luks2.NewMemory(meminfo.Available()), o.mapper)
	switch {
	case err == nil:
		o.opened = &opened
	case codes.Of(err) == unlock.CodeMap:
		o.failed = err
	case codes.Of(err) == unlock.CodeWrongKey && o.mixer.Has(o.by):
		return codes.Fail(together.CodeWrong, "%w: all parts of its key are there, and one is not what the keyslot was enrolled with", err)
	default:
		return err
	}
	o.end() // who asks at a terminal asks no more
	return err
}

// chip opens the TPM for one source: another one may need it.
func (o *oneVolume) chip(path string) (*tpm.TPM, error) {
	t, err := tpm.Open(path)
	if err == nil {
		o.chips = append(o.chips, t)
	}
	return t, err
}

func (o *oneVolume) closeChips() {
	for _, t := range o.chips {
		t.Close()
	}
	o.chips = nil
}

// mix keeps a part, and makes passphrases of it and those that are there.
func (o *oneVolume) mix(want unlock.Expect, keys []unlock.Candidate) ([]unlock.Candidate, error) {
	o.want = o.want.And(want)
	return o.mixer.Add(o.by, keys)
}

func wipeCandidates(keys []unlock.Candidate) {
	for _, k := range keys {
		k.Passphrase.Wipe()
	}
}

// Package source is the seam between what yields keys and what opens
// volumes with them. Each kind of source has a folder below this one, or is
// where what it asks is; none knows of another, nor of the order in which
// they are asked.
package source

import (
	"context"
	"errors"

	"latchkey/unlock"
)

// ErrNotMine is wrapped by the error of a source that has nothing to do with
// a volume, for example because its header has no token of that kind. The
// next source is asked at once.
var ErrNotMine = errors.New("the volume has nothing for this source")

// A Source yields keys. It is named in the plan and asked once for all the
// volumes that list it.
type Source interface {
	// Run has keys tried as they come, until ctx ends or there are no more.
	// Its error says why it opens none of the volumes that are still closed;
	// nil says that all it has was tried. Run may be asked to end at any
	// time and is not waited for.
	Run(ctx context.Context, to Opener) error
}

// An Opener has volumes opened. The worker of a boot is one.
type Opener interface {
	// Closed are the volumes that list the source and are closed now, in the
	// order of the plan.
	Closed() []*unlock.Volume
	// Needed tells whether the boot waits for a volume.
	Needed(v *unlock.Volume) bool
	// Try tries keys on their volumes, side by side, when the offers of other
	// sources have had their turn. It returns an error for each key, nil if
	// the volume is open.
	Try(ctx context.Context, o Offer) []error
}

// An Offer is what a source yields at a time.
type Offer struct {
	Keys []Key
	// Taken, if there is one, is called when the offer's turn has come. An
	// offer that comes when the boot has all it needs has none.
	Taken func()
}

// A Key is what opens one volume, or why there is nothing that does.
type Key struct {
	Volume *unlock.Volume
	Want   unlock.Expect // what the source knows of the true volume
	// Passphrases are asked for when the volume's header has been judged, so
	// that nothing is unsealed for a stranger's. They are wiped after use.
	Passphrases func(ctx context.Context) ([]unlock.Candidate, error)
	Keep        bool  // the passphrases, as long as the source's Run and what follows it need them
	Err         error // instead: why this source does not open this volume
}

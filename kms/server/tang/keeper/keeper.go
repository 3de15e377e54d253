package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/metrics"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/tang"
)

// Options say who is answered. They may change while serving.
type Options struct {
	Sources []netip.Prefix  // if any: requests from elsewhere get nothing
	Known   []netip.Prefix  // where clients are: one from elsewhere is told of
	Windows []policy.Window // if any: outside of them nobody gets anything
	// PerMinute is how often a source may ask; 0 is DefaultPerMinute.
	PerMinute int
}

// DefaultPerMinute is how often a source may ask in a minute: a machine asks
// once for each volume and share when it boots.
const DefaultPerMinute = 60

// Config is what a Keeper decides by and with.
type Config struct {
	Ledger  *ledger.Ledger
	Work    *attest.Workers
	Counted *metrics.Exchanges
	Log     *slog.Logger
}

// A Keeper decides for the clients of tang: tang.Keeper.
type Keeper struct {
	c       Config
	rows    *Rows
	o       atomic.Pointer[Options]
	asked   meter // requests
	events  events
	adverts adverts
}

// New makes a keeper of rows that the config's ledger has registered.
func New(c Config, r *Rows) *Keeper {
	k := &Keeper{c: c, rows: r}
	k.asked.over, k.events.meter.over, k.events.all.over = time.Minute, day, day
	k.SetOptions(Options{})
	return k
}

// SetOptions changes the options.
func (k *Keeper) SetOptions(o Options) {
	if o.PerMinute == 0 {
		o.PerMinute = DefaultPerMinute
	}
	k.o.Store(&o)
}

// Handler answers clients.
func (k *Keeper) Handler() *tang.Handler {
	return tang.NewHandler(k, func(operation, result string, began time.Time) {
		k.c.Counted.Request("tang", operation, result, began)
	}, k.c.Log)
}

// Admit implements tang.Keeper.
func (k *Keeper) Admit(a tang.Ask) error {
	o := k.o.Load()
	if !k.asked.take(ledger.SourceOf(a.From.String()), o.PerMinute, k.c.Ledger.Now()) {
		return &tang.Refusal{Reason: tang.TooOften, Detail: fmt.Sprintf("more than %d a minute", o.PerMinute)}
	}
	return nil
}

// may says why a request is refused, whatever key it is for.
func (o *Options) may(a tang.Ask, now time.Time) *tang.Refusal {
	if len(o.Sources) > 0 && !front.Contains(o.Sources, a.From) {
		return &tang.Refusal{Reason: tang.Network, Detail: fmt.Sprintf("not in %v", o.Sources)}
	}
	for _, w := range o.Windows {
		if w.Contains(now) {
			return nil
		}
	}
	if len(o.Windows) > 0 {
		return &tang.Refusal{Reason: tang.Window, Detail: fmt.Sprintf("not in %v", o.Windows)}
	}
	return nil
}

// client judges whose keys are meant.
func (k *Keeper) client(v ledger.View, a tang.Ask) (*tang.Refusal, error) {
	if a.Client == "" {
		return nil, nil
	}
	var row client
	found, err := v.Load(k.rows.clients, []byte(a.Client), &row)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return &tang.Refusal{Reason: tang.NoKey, Detail: "there is no such client"}, nil
	case row.Revoked:
		return &tang.Refusal{Reason: tang.Revoked}, nil
	case len(row.Sources) > 0 && !front.Contains(row.Sources, a.From):
		return &tang.Refusal{Reason: tang.Network, Detail: fmt.Sprintf("not in %v", row.Sources)}, nil
	}
	return nil, nil
}

// Recover implements tang.Keeper. The point is multiplied before it is
// recorded, so that a request that is no point costs no write; the key must
// still be there when it is.
func (k *Keeper) Recover(ctx context.Context, a tang.Ask, thumbprint string, point tang.Key) (product tang.Key, err error) {
	row, product, err := k.multiply(ctx, a, thumbprint, point)
	if err == nil {
		err = k.record(ctx, a, row)
	}
	if refused, ok := errors.AsType[*tang.Refusal](err); ok {
		k.c.Counted.Decision("tang", "recover", refused.Reason.Code())
		k.noteRefusal(ctx, a, thumbprint, refused)
		return tang.Key{}, refused
	}
	if err != nil {
		return tang.Key{}, err
	}
	k.c.Counted.Decision("tang", "recover", kms.OK.Code())
	k.c.Log.Info("decided", "protocol", "tang", "operation", "recover", "status", kms.OK.Code(), "client", a.Client, "key", row.Key.Thumbprint(), "from", a.From)
	return product, nil
}

// multiply judges a request, and does what it asks for.
func (k *Keeper) multiply(ctx context.Context, a tang.Ask, thumbprint string, point tang.Key) (row key, product tang.Key, err error) {
	private, row, err := k.private(a, thumbprint)
	if err != nil {
		return row, product, err
	}
	defer private.D.Wipe()
	err = k.c.Work.Do(ctx, func() (err error) {
		product, err = tang.Exchange(private, point)
		return err
	})
	if err != nil && !errors.Is(err, attest.ErrBusy) && ctx.Err() == nil {
		err = &tang.Refusal{Reason: tang.Malformed, Detail: err.Error()}
	}
	return row, product, err
}

// private finds the key that a request is for. Wipe it.
func (k *Keeper) private(a tang.Ask, thumbprint string) (private tang.Private, row key, err error) {
	err = k.c.Ledger.Read(func(v ledger.View) (err error) {
		private, row, err = k.judge(v, a, thumbprint)
		return err
	})
	if _, refused := errors.AsType[*tang.Refusal](err); err != nil && !refused {
		err = &ledger.Unavailable{Err: err}
	}
	return private, row, err
}

// judge is the whole decision on a recovery.
func (k *Keeper) judge(v ledger.View, a tang.Ask, thumbprint string) (private tang.Private, row key, err error) {
	if refused := k.o.Load().may(a, k.c.Ledger.Wall()); refused != nil {
		return private, row, refused
	}
	refused, err := k.client(v, a)
	if err != nil {
		return private, row, err
	}
	if refused != nil {
		return private, row, refused
	}
	row, found, err := k.find(v, a.Client, thumbprint)
	switch {
	case err != nil:
		return private, row, err
	case !found:
		return private, row, &tang.Refusal{Reason: tang.NoKey}
	case row.Retired != nil:
		return private, row, &tang.Refusal{Reason: tang.Retired}
	case !row.Key.Recovers():
		return private, row, &tang.Refusal{Reason: tang.NotExchange, Detail: "the key signs only"}
	}
	private, found, err = k.rows.open(v, row)
	if err == nil && !found {
		err = fmt.Errorf("reading key %s: %w", row.Key.Thumbprint(), ledger.ErrUnverified)
	}
	return private, row, err
}

// find looks for a key of one client's by its thumbprint, hidden ones too.
func (k *Keeper) find(v ledger.View, of, thumbprint string) (row key, found bool, err error) {
	err = k.rows.each(v, of, func(one key) error {
		if !found && one.Key.Named(thumbprint) {
			row, found = one, true
		}
		return nil
	})
	return row, found, err
}

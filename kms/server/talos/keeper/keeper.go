// Package keeper decides which machine of Talos may seal and unseal, and
// keeps what it decides by.
package keeper

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	wire "github.com/siderolabs/kms-client/api/kms"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/metrics"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/rpc"
	"latchkey/kms/server/talos"
	"latchkey/kms/server/terms"
)

// Options say who may seal and unseal. They may change while serving.
type Options struct {
	Enroll  fleet.Enrollment // what becomes of a UUID that nobody knows; "" is Approve
	Allow   []kms.UUID       // if any: no other gets anything
	Sources []netip.Prefix   // if any: requests from elsewhere get nothing
	// BindAddress binds what is sealed from now on to the address that
	// asked: only from there it is unsealed.
	BindAddress bool
	// Noise answers refusals with random bytes, as the small servers of the
	// field do. It is dangerous: a machine whose disk another slot opened
	// may take them for its new key.
	Noise bool
}

// SetOptions changes the options.
func (k *Keeper) SetOptions(o Options) {
	if o.Enroll == "" {
		o.Enroll = fleet.Approve
	}
	if o.Enroll == fleet.Tofu {
		k.c.Log.Warn("talos: any machine that reaches this server, and says any UUID, may seal and unseal; enrollment approve asks you first")
	}
	k.o.Store(&o)
}

// options are SetOptions', or the defaults.
func (k *Keeper) options() Options {
	if o := k.o.Load(); o != nil {
		return *o
	}
	return Options{Enroll: fleet.Approve}
}

// Config is what a Keeper decides by and with.
type Config struct {
	Ledger  *ledger.Ledger
	Rules   terms.Rules
	Several terms.Several
	Counted *metrics.Exchanges
	Log     *slog.Logger
}

// A Keeper decides for the machines of Talos: talos.Keeper.
type Keeper struct {
	c    Config
	rows *Rows
	ring ledger.Ring
	o    atomic.Pointer[Options]
}

// New makes a keeper of rows that the config's ledger has registered.
func New(c Config, r *Rows) *Keeper { return &Keeper{c: c, rows: r, ring: r.keyring.Ring("")} }

// Server is the gRPC server for machines of Talos; creds are nil for plain
// text. Its listener is a front.Door.
func (k *Keeper) Server(creds credentials.TransportCredentials, observe rpc.Observe) *grpc.Server {
	g := rpc.NewServer(creds, front.ServingConn, observe)
	wire.RegisterKMSServiceServer(g, talos.NewService(k, k.c.Log))
	return g
}

// Noise implements talos.Keeper.
func (k *Keeper) Noise() bool { return k.options().Noise }

// Seal implements talos.Keeper.
func (k *Keeper) Seal(ctx context.Context, a talos.Ask, key secret.Bytes) (blob []byte, err error) {
	err = k.decide(ctx, "talos seal", a, "", func(t *ledger.Txn, row *machine) (why string, err error) {
		head := head{}
		if k.options().BindAddress {
			head.flags |= bound
		}
		version, sealed, err := t.Seal(k.ring, key, func(version uint32) []byte {
			head.version = version
			return head.aad(a)
		})
		if err != nil {
			return "", err
		}
		row.use(version)
		blob = append(head.encode(), sealed...)
		return "", nil
	})
	return blob, err
}

// Unseal implements talos.Keeper.
func (k *Keeper) Unseal(ctx context.Context, a talos.Ask, blob []byte) (key secret.Bytes, err error) {
	err = k.decide(ctx, "talos unseal", a, nameOf(blob), func(t *ledger.Txn, row *machine) (why string, err error) {
		key.Wipe() // of a run that did not count
		head, sealed, ok := readHead(blob)
		if !ok {
			return "the blob is not one of ours", nil
		}
		key, err = t.View.Open(k.ring, head.version, sealed, head.aad(a))
		if errors.Is(err, ledger.ErrSealed) {
			return head.explain(err), nil
		}
		row.use(head.version)
		return "", err
	})
	if err != nil {
		key.Wipe()
		return secret.Bytes{}, err
	}
	return key, nil
}

// decide runs policy and f in the transaction that records what was
// decided: nothing is answered before that is on stable storage.
func (k *Keeper) decide(ctx context.Context, event string, a talos.Ask, blob string, f func(*ledger.Txn, *machine) (why string, err error)) error {
	var why string
	err := k.c.Ledger.Update(ctx, func(t *ledger.Txn) (err error) {
		if err := k.c.Rules.Follow(t.View); err != nil {
			return err
		}
		why, err = k.decideOn(t, event, a, blob, f)
		return err
	})
	if err != nil {
		return &ledger.Unavailable{Err: err}
	}
	k.c.Counted.Decision("talos", strings.TrimPrefix(event, "talos "), reasonOf(why))
	k.c.Log.Info("decided", "protocol", "talos", "node", a.UUID, "operation", event, "status", statusOf(why), "from", a.From)
	if why != "" {
		return &talos.Refusal{Why: why}
	}
	return nil
}

// reasonOf is why, of a few words that are always the same.
func reasonOf(why string) string {
	switch {
	case why == "":
		return kms.OK.Code()
	case strings.HasPrefix(why, ledger.ErrSealed.Error()):
		return ledger.ErrSealed.Error()
	}
	return why
}

func statusOf(why string) string {
	if why == "" {
		return kms.OK.Code()
	}
	return "refused"
}

// ruleOf is the rule of the policy that refused, if one did.
func ruleOf(why string) policy.Rule {
	rule, is := strings.CutPrefix(why, byPolicy)
	if !is {
		return ""
	}
	return policy.Rule(rule)
}

// judge decides on a machine that is known, and does what it asks for.
func (k *Keeper) judge(t *ledger.Txn, event string, a talos.Ask, blob string, row *machine, f func(*ledger.Txn, *machine) (string, error)) (why string, err error) {
	if why = row.judge(k.options(), a); why != "" {
		return why, nil
	}
	facts, why, err := k.abide(t, event, a, blob, row)
	if err != nil || why != "" {
		return why, err
	}
	if why, err = f(t, row); err == nil && why == "" {
		row.count(blob, facts)
	}
	return why, err
}

func (k *Keeper) decideOn(t *ledger.Txn, event string, a talos.Ask, blob string, f func(*ledger.Txn, *machine) (string, error)) (string, error) {
	o := k.options()
	row, found, err := k.rows.fleet.Get(t.View, a.UUID[:])
	if err != nil {
		return "", err
	}
	if !found {
		var why string
		if row, why, err = k.admit(t, o, a); err != nil || why != "" {
			return why, err // nothing to record: the log must not be filled from outside
		}
	}

	before, moved := row.LastStatus, row.State == fleet.Approved && row.From.IsValid() && row.From != a.From
	why, err := k.judge(t, event, a, blob, &row, f)
	if err != nil {
		return "", err
	}

	e := ledger.Event{Event: event, Node: a.UUID.String(), Status: statusOf(why), From: a.From.String(), Detail: why}
	if why == "" && moved {
		e.Detail = "before from " + row.From.String() + ": two machines may have this UUID"
		k.c.Log.Warn("a machine of Talos asks from another address than before; two machines may have one UUID", "node", a.UUID, "from", a.From, "before", row.From)
	}
	reason := row.LastReason
	row.LastReason = ruleOf(why)
	e.Reason = string(row.LastReason)
	row.Last, row.LastStatus = time.Now().UTC(), statusOf(why)
	if why == "" || row.State == fleet.Pending {
		row.From = a.From
	}

	if err := k.rows.fleet.Put(t, row); err != nil {
		return "", err
	}
	if why != "" && before == row.LastStatus && reason == row.LastReason {
		return why, nil // asking again
	}

	if row.State != fleet.Approved {
		return why, t.NoteStranger(e)
	}
	return why, t.Note(e)
}

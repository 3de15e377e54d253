package server

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	wire "github.com/siderolabs/kms-client/api/kms"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/server/rpc"
	"latchkey/kms/server/talos"
)

// TalosOptions say who may seal and unseal. They may change while serving.
type TalosOptions struct {
	Enroll  Enrollment     // what becomes of a UUID that nobody knows; "" is Approve
	Allow   []kms.UUID     // if any: no other gets anything
	Sources []netip.Prefix // if any: requests from elsewhere get nothing
	// BindAddress binds what is sealed from now on to the address that
	// asked: only from there it is unsealed.
	BindAddress bool
	// Noise answers refusals with random bytes, as the small servers of the
	// field do. It is dangerous: a machine whose disk another slot opened
	// may take them for its new key.
	Noise bool
}

// SetTalos changes the options.
func (s *Server) SetTalos(o TalosOptions) {
	if o.Enroll == "" {
		o.Enroll = Approve
	}
	if o.Enroll == Tofu {
		s.log.Warn("talos: any machine that reaches this server, and says any UUID, may seal and unseal; enrollment approve asks you first")
	}
	s.talos.Store(&o)
}

// talosOptions are SetTalos', or the defaults.
func (s *Server) talosOptions() TalosOptions {
	if o := s.talos.Load(); o != nil {
		return *o
	}
	return TalosOptions{Enroll: Approve}
}

// NewTalos is the gRPC server for machines of Talos; creds are nil for
// plain text. Its listener is a Door.
func NewTalos(s *Server, creds credentials.TransportCredentials) *grpc.Server {
	g := rpc.NewServer(creds, front.ServingConn, s.observe("talos"))
	wire.RegisterKMSServiceServer(g, talos.NewService(talosKeeper{s}, s.log))
	return g
}

// talosKeeper decides for the machines of Talos: talos.Keeper.
type talosKeeper struct{ s *Server }

// Noise implements talos.Keeper.
func (k talosKeeper) Noise() bool { return k.s.talosOptions().Noise }

// Seal implements talos.Keeper.
func (k talosKeeper) Seal(ctx context.Context, a talos.Ask, key secret.Bytes) (blob []byte, err error) {
	err = k.decide(ctx, "talos seal", a, func(t *txn, row *talosRow) (why string, err error) {
		head := talosHead{}
		if k.s.talosOptions().BindAddress {
			head.flags |= talosBound
		}
		version, sealed, err := t.ringSeal(ringTalos, key, func(version uint32) []byte {
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
func (k talosKeeper) Unseal(ctx context.Context, a talos.Ask, blob []byte) (key secret.Bytes, err error) {
	err = k.decide(ctx, "talos unseal", a, func(t *txn, row *talosRow) (why string, err error) {
		key.Wipe() // of a run that did not count
		head, sealed, ok := readTalosHead(blob)
		if !ok {
			return "the blob is not one of ours", nil
		}
		key, err = t.ringOpen(ringTalos, head.version, sealed, head.aad(a))
		if errors.Is(err, errSealed) {
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
func (k talosKeeper) decide(ctx context.Context, event string, a talos.Ask, f func(*txn, *talosRow) (why string, err error)) error {
	var why string
	err := k.s.update(ctx, func(t *txn) (err error) {
		why, err = k.s.talosDecide(t, event, a, f)
		return err
	})
	if err != nil {
		return &unavailable{err}
	}
	k.s.measured.decisions.Inc("talos", strings.TrimPrefix(event, "talos "), talosReason(why))
	k.s.log.Info("decided", "protocol", "talos", "node", a.UUID, "operation", event, "status", talosStatus(why), "from", a.From)
	if why != "" {
		return &talos.Refusal{Why: why}
	}
	return nil
}

// talosReason is why, of a few words that are always the same.
func talosReason(why string) string {
	switch {
	case why == "":
		return kms.OK.Code()
	case strings.HasPrefix(why, errSealed.Error()):
		return errSealed.Error()
	}
	return why
}

func talosStatus(why string) string {
	if why == "" {
		return kms.OK.Code()
	}
	return "refused"
}

func (s *Server) talosDecide(t *txn, event string, a talos.Ask, f func(*txn, *talosRow) (string, error)) (string, error) {
	o := s.talosOptions()
	row, found, err := t.talosNode(a.UUID)
	if err != nil {
		return "", err
	}
	if !found {
		var why string
		if row, why, err = s.talosAdmit(t, o, a); err != nil || why != "" {
			return why, err // nothing to record: the log must not be filled from outside
		}
	}

	before, moved := row.LastStatus, row.State == stateApproved && row.From.IsValid() && row.From != a.From
	why := row.judge(o, a)
	if why == "" {
		if why, err = f(t, &row); err != nil {
			return "", err
		}
	}

	e := Event{Event: event, Node: a.UUID.String(), Status: talosStatus(why), From: a.From.String(), Detail: why}
	if why == "" && moved {
		e.Detail = "before from " + row.From.String() + ": two machines may have this UUID"
		s.log.Warn("a machine of Talos asks from another address than before; two machines may have one UUID", "node", a.UUID, "from", a.From, "before", row.From)
	}
	row.Last, row.LastStatus = time.Now().UTC(), talosStatus(why)
	if why == "" || row.State == statePending {
		row.From = a.From
	}

	if err := t.saveTalos(row); err != nil {
		return "", err
	}
	if why != "" && before == row.LastStatus {
		return why, nil // asking again
	}

	return why, t.note(e)
}

// talosHead begins a blob. It is part of what the blob is bound to.
type talosHead struct {
	flags   byte
	version uint32 // of the ring
}

const (
	talosFormat   = 1
	talosBound    = 1 // flag: to the source address
	talosHeadSize = 1 + 1 + 4
)

func (h talosHead) encode() []byte {
	return binary.BigEndian.AppendUint32([]byte{talosFormat, h.flags}, h.version)
}

func readTalosHead(blob []byte) (h talosHead, rest []byte, ok bool) {
	if len(blob) != talos.BlobSize || blob[0] != talosFormat || blob[1]&^talosBound != 0 {
		return h, nil, false
	}
	return talosHead{blob[1], binary.BigEndian.Uint32(blob[2:])}, blob[talosHeadSize:], true
}

// aad: another machine's blob does not open, nor one sealed from elsewhere
// if it is bound to an address.
func (h talosHead) aad(a talos.Ask) []byte {
	aad := slices.Concat([]byte("lk1/talos"), h.encode(), a.UUID[:])
	if h.flags&talosBound != 0 {
		from := a.From.As16()
		aad = append(aad, from[:]...)
	}
	return aad
}

func (h talosHead) explain(err error) string {
	if h.flags&talosBound != 0 {
		return err.Error() + " (it is bound to the address that sealed it)"
	}
	return err.Error()
}

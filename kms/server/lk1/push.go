package lk1

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// A push is a passphrase that a person gives a machine that waits, from far
// away: when nobody knows the machine any more, when its secret is lost, when
// it booted what no one may approve. It is for one boot of one TPM, given once
// within minutes in the next M4 that this boot asks for, which only this TPM
// opens. Nothing listens on the machine, and its plan must list the source.
const (
	pushLife  = 10 * time.Minute
	pushFresh = 2 * time.Minute // how lately a machine that waits has asked: it does every half minute
)

// tablePushes is by node id: the pushes that have not been fetched.
var tablePushes = ledger.NewTable("pushes", ledger.Passing)

// pushRow is one push, but for its passphrase.
type pushRow struct {
	Clock   clock          `json:"clock"` // of the boot that it is for
	PCRs    map[int]digest `json:"pcrs"`  // that this boot showed
	Volumes []kms.UUID     `json:"volumes"`
	Until   time.Duration  `json:"until"` // on the ledger's clock
	By      string         `json:"by"`
}

// A Push says what to push to whom.
type Push struct {
	Who        string
	Seen       string     // Node.Seen of what the operator looked at
	Volumes    []kms.UUID // empty: all that the machine asks for
	Passphrase secret.Bytes
}

// Pushed is a push on its way.
type Pushed struct {
	Node    kms.NodeID `json:"node"`
	Words   string     `json:"words"`
	Volumes []kms.UUID `json:"volumes"`
	Seconds int        `json:"seconds"` // how long it waits to be fetched
}

// Push leaves a passphrase for the next question of a machine that waits, in
// place of one that was left before.
func (s *Service) Push(ctx context.Context, p Push) (out Pushed, err error) {
	if n := p.Passphrase.Len(); n == 0 || n > kms.MaxSecret {
		return out, fmt.Errorf("pushing to %q: %w: the passphrase has %d bytes, not 1 to %d", p.Who, ledger.ErrRefused, n, kms.MaxSecret)
	}
	id, err := s.candidate(ctx, Approval{Who: p.Who})
	if err != nil {
		return out, err
	}
	err = s.update(ctx, func(t *txn) error {
		row, err := t.known(id)
		if err != nil {
			return err
		}
		volumes, err := row.pushable(p, s.ledger.Wall())
		if err != nil {
			return fmt.Errorf("pushing to node %s: %w", row.ID.Words(), err)
		}
		one := pushRow{Clock: row.Shown.Clock, PCRs: row.Shown.PCRs, Volumes: volumes, Until: s.ledger.Now() + pushLife, By: ledger.Who(ctx)}
		if err := t.savePush(id, one, p.Passphrase); err != nil {
			return err
		}
		out = Pushed{id, id.Words(), volumes, int(pushLife / time.Second)}
		return t.Note(ledger.Event{
			Event: "push", Node: id.String(), Volumes: volumes, From: one.By,
			Detail: fmt.Sprintf("for its boot %d.%d, within %s", one.Clock.Reset, one.Clock.Restart, pushLife),
		})
	})
	return out, err
}

// pushable are the volumes that a passphrase may be pushed for.
func (row *nodeRow) pushable(p Push, now time.Time) ([]kms.UUID, error) {
	switch {
	case row.State == fleet.Deleted:
		return nil, fleet.Refuse("it was deleted")
	case row.Quarantined:
		return nil, fleet.Refuse("it is in quarantine: readmit it first, if you must")
	case row.Shown == nil || !row.Shown.Boot:
		return nil, fleet.Refuse("its last proof was not from a boot that waits for its keys")
	case now.Sub(row.Last) > pushFresh:
		return nil, fleet.Refuse(fmt.Sprintf("it does not wait: it asked last at %s", row.Last.Format(time.RFC3339)))
	case p.Seen == "":
		return nil, fleet.Refuse("say which boot you looked at: node show prints its digest")
	}
	if err := row.stillShows(p.Seen); err != nil {
		return nil, err
	}
	var asked []kms.UUID
	for _, v := range row.Shown.Volumes {
		asked = append(asked, v.UUID)
	}
	for _, uuid := range p.Volumes {
		if !slices.Contains(asked, uuid) {
			return nil, fleet.Refuse(fmt.Sprintf("it does not ask for volume %s", uuid))
		}
	}
	if len(p.Volumes) > 0 {
		return p.Volumes, nil
	}
	return asked, nil
}

// deliver gives what was pushed to the boot that it was pushed to, in place of
// what was decided for these volumes. Whatever else asks in this machine's
// name ends the push, and gets none of it.
func (t *txn) deliver(p *proof, row *nodeRow, d *kms.Decision) (*kms.Decision, error) {
	if p.operation != kms.Get || !t.Has(tablePushes, p.node[:]) {
		return d, nil
	}
	one, passphrase, err := t.loadPush(p.node)
	if err != nil {
		return nil, err
	}
	defer passphrase.Wipe()
	if err := t.Unmark(tablePushes, p.node[:]); err != nil {
		return nil, err
	}
	e := ledger.Event{Event: "push given", Node: p.node.String(), Volumes: one.Volumes, From: p.from, Detail: "pushed by " + one.By}
	if why := one.void(p, row, t.s.ledger.Now()); why != "" {
		e.Event, e.Detail = "push void", why
		return d, t.Note(e)
	}
	out, err := t.withPush(p, d, one, passphrase)
	if err != nil {
		return nil, err
	}
	return out, t.Note(e)
}

// void is why a push is not for this proof; "" if it is.
func (one *pushRow) void(p *proof, row *nodeRow, now time.Duration) string {
	switch {
	case row.State == fleet.Deleted || row.Quarantined:
		return "the machine was stopped"
	case now >= one.Until:
		return "it was too late"
	case p.clock != one.Clock:
		return fmt.Sprintf("it is another boot: %d.%d, not %d.%d", p.clock.Reset, p.clock.Restart, one.Clock.Reset, one.Clock.Restart)
	case !maps.Equal(p.pcrs, one.PCRs) || p.pcrs[latchPCR] != digest{}:
		return "it shows another boot state"
	}
	return ""
}

// withPush is the decision with a push in it. What is known of a volume goes
// along, so that the machine opens no other in its place.
func (t *txn) withPush(p *proof, d *kms.Decision, one pushRow, passphrase secret.Bytes) (*kms.Decision, error) {
	out := &kms.Decision{Status: kms.OK}
	for i, want := range p.volumes {
		g := kms.Granted{UUID: want.UUID, Status: d.Status}
		if i < len(d.Volumes) {
			g = d.Volumes[i]
		}
		if slices.Contains(one.Volumes, want.UUID) {
			g.Active.Secret.Wipe()
			g.Staged.Secret.Wipe()
			volume, status, err := t.owned(p.node, want.UUID)
			if err != nil {
				return nil, err
			}
			g = kms.Granted{UUID: want.UUID, Status: kms.OK, Active: kms.Material{Kind: kms.Pushed, Secret: passphrase.Clone()}}
			if status == kms.OK {
				g.Digest, g.MAC = bytesOf(volume.Digest), bytesOf(volume.MAC)
			}
		}
		out.Volumes = append(out.Volumes, g)
	}
	return out, nil
}

func (t *txn) savePush(id kms.NodeID, one pushRow, passphrase secret.Bytes) error {
	head, err := json.Marshal(one)
	if err != nil {
		return err
	}
	w := kms.NewWriter(len(head) + passphrase.Len() + 4)
	w.Field(head)
	w.Field(passphrase.Reveal())
	defer clear(w.Bytes())
	return t.PutPassing(tablePushes, id[:], w.Bytes())
}

func (v view) loadPush(id kms.NodeID) (one pushRow, passphrase secret.Bytes, err error) {
	plain, _, err := v.Get(tablePushes, id[:])
	if err != nil {
		return one, passphrase, err
	}
	defer clear(plain)
	r := kms.NewReader(plain)
	head := r.Field("push", kms.MaxMessage)
	passphrase = secret.Own(slices.Clone(r.Field("passphrase", kms.MaxSecret)))
	if err = r.End(); err == nil {
		err = json.Unmarshal(head, &one)
	}
	if err != nil {
		err = fmt.Errorf("reading a push: %w: %w", ledger.ErrUnverified, err)
	}
	return one, passphrase, err
}

// pushRoute takes a push; the passphrase is the request's body.
func (s *Service) pushRoute() admin.Route {
	return admin.Route{
		Method: "POST", Path: "/v1/node/push", Scope: admin.ScopeAdmin, Reaching: admin.Within,
		Doc: "Leaves a passphrase, the body as it is, for the next question of a node that waits: for this boot of it, once, for ten minutes.",
		Query: []admin.Param{
			admin.WhoParam,
			{Name: "shown", Doc: "shown_digest of the node as the operator looked at it: another is refused"},
			{Name: "volumes", Doc: "UUIDs of volumes, with commas between; not given: all that the node asks for"},
		},
		Body: []byte{}, Answer: Pushed{}, Do: s.adminPush,
	}
}

func (s *Service) adminPush(r *http.Request) (any, error) {
	query := r.URL.Query()
	p := Push{Who: query.Get("who"), Seen: query.Get("shown")}
	volumes := query.Get("volumes")
	for text := range strings.SplitSeq(volumes, ",") {
		if volumes == "" {
			break
		}
		uuid, err := kms.ParseUUID(text)
		if err != nil {
			return nil, err
		}
		p.Volumes = append(p.Volumes, uuid)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	p.Passphrase = secret.Own(body)
	defer p.Passphrase.Wipe()
	return s.Push(r.Context(), p)
}

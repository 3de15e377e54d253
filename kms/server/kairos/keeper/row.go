package keeper

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"latchkey/internal/mapping"
	"latchkey/kms"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/policy"
)

// machine is one node of Kairos, by its TPMHash.
type machine struct {
	Hash       kms.NodeID        `json:"tpm_hash"`
	State      fleet.State       `json:"state"`
	Stopped    bool              `json:"quarantined,omitempty"` // by command
	Volumes    []volumeDoc       `json:"volumes,omitempty"`     // the documents about it
	Partitions []partition       `json:"partitions,omitempty"`
	PCRs       map[string]string `json:"pcrs"`             // nil: learn all; "": learn once; not in it: ignored
	Clock      uint64            `json:"clock,omitempty"`  // the highest shown where it was safe
	AKs        int               `json:"attestation_keys"` // how many were seen
	LastAK     *seenAK           `json:"last_attestation_key,omitempty"`
	First      time.Time         `json:"first_seen"`
	Last       time.Time         `json:"last_seen"`
	Enrolled   time.Time         `json:"enrolled_at"`   // when the boot state was learnt
	Verified   time.Time         `json:"last_verified"` // when it was compared last
	LastStatus string            `json:"last_status,omitempty"`
	LastFrom   string            `json:"last_from,omitempty"`
	Shown      *lastShown        `json:"shown,omitempty"`
	LastReason policy.Rule       `json:"last_reason,omitempty"` // the rule of the policy that decided it, if one failed

	policy.Terms
}

// volumeDoc is what a SealedVolume document said last.
type volumeDoc struct {
	Name        string            `json:"name"`
	Quarantined bool              `json:"quarantined,omitempty"`
	PCRs        map[string]string `json:"pcrs"`
	Cluster     bool              `json:"cluster,omitempty"` // it is an object of a cluster
	Gone        bool              `json:"gone,omitempty"`    // which is no longer there
}

// partition is one volume of a node. Its id names its secret, so that
// an edited document leads to the same one; it stays when the document no
// longer has it.
type partition struct {
	ID      string `json:"id"`
	Volume  string `json:"volume"` // document
	Label   string `json:"label,omitempty"`
	Device  string `json:"device,omitempty"`
	UUID    string `json:"uuid,omitempty"`
	Secret  string `json:"secret,omitempty"`
	Key     string `json:"key,omitempty"`
	Written bool   `json:"written,omitempty"` // by the operator, in a document
	Removed bool   `json:"removed,omitempty"`

	Recent []int64 `json:"recent_releases,omitempty"` // Unix seconds, of the last hour, while it has a limit
}

// lastShown is what the node showed last.
type lastShown struct {
	Label  string            `json:"label"`
	Name   string            `json:"name"`
	UUID   string            `json:"uuid"`
	PCRs   map[string]string `json:"pcrs,omitempty"`
	Clock  uint64            `json:"clock,omitempty"`
	Safe   bool              `json:"safe,omitempty"`
	Legacy bool              `json:"legacy,omitempty"`
	Live   bool              `json:"live,omitempty"`
}

func show(p *kairos.Proof) *lastShown {
	out := &lastShown{Label: p.Request.Label, Name: p.Request.Name, UUID: p.Request.UUID, Legacy: p.Quote == nil, Live: p.Defer}
	if p.Quote != nil {
		out.PCRs, out.Clock, out.Safe = hexPCRs(p.Quote.PCRs), p.Quote.Clock, p.Quote.Safe
	}
	return out
}

func hexPCRs(pcrs map[int][32]byte) map[string]string {
	out := map[string]string{}
	for index, value := range pcrs {
		out[fmt.Sprint(index)] = hex.EncodeToString(value[:])
	}
	return out
}

// Key implements fleet.Row.
func (row machine) Key() []byte { return row.Hash[:] }

// Name implements fleet.Row.
func (row machine) Name() string { return row.Hash.String() }

// Standing implements fleet.Row.
func (row machine) Standing() fleet.State { return row.State }

// Waiting implements fleet.Row.
func (row machine) Waiting() fleet.Waiter {
	return fleet.Waiter{First: row.First, Last: row.Last, From: row.LastFrom}
}

// seenAK is the attestation key that was spent last, and the clock of its
// quote: the same key within minutes, with a later clock, is a client that
// tries again.
type seenAK struct {
	Key   digest    `json:"key"`
	Clock uint64    `json:"clock"`
	At    time.Time `json:"at"`
}

// digest is 32 bytes that people read as hex.
type digest = kms.NodeID

// quarantined: one word is enough.
func (row *machine) quarantined() bool {
	return row.Stopped || slices.ContainsFunc(row.Volumes, func(v volumeDoc) bool { return v.Quarantined || v.Gone })
}

// bound: a boot state is pinned, so that only one who shows it is served.
func (row *machine) bound() bool {
	for _, value := range row.PCRs {
		if value != "" {
			return true
		}
	}
	return false
}

// judge compares what was booted with what is pinned. The legacy exchange
// shows nothing, so it must not be a way around the pins. Vouched are PCRs that
// a release answers for.
func (row *machine) judge(p *kairos.Proof, strict bool, vouched []int) outcome {
	if p.Quote == nil {
		if row.bound() {
			return refuse(kairos.Downgrade, "")
		}
		return outcome{}
	}

	if strict && row.behind(p) != "" {
		return refuse(kairos.ClockBehind, "")
	}
	if pcr := row.differs(hexPCRs(p.Quote.PCRs), vouched); pcr != "" {
		return refuse(kairos.PCRMismatch, pcr)
	}
	return outcome{}
}

// behind says how far a TPM's clock is behind what it was; empty: it is not.
func (row *machine) behind(p *kairos.Proof) string {
	if p.Quote == nil || !p.Quote.Safe || p.Quote.Clock >= row.Clock {
		return ""
	}
	return fmt.Sprintf("%d ms, behind %d", p.Quote.Clock, row.Clock)
}

// verified follows a release: it learns what is to be learnt, but not from
// a live system, which boots something else.
func (row *machine) verified(t *txn, p *kairos.Proof) {
	if p.Quote == nil {
		return
	}
	row.Verified = row.Last
	if p.Quote.Safe {
		row.Clock = p.Quote.Clock
	}

	if p.Defer {
		return
	}
	if row.PCRs == nil {
		row.PCRs = map[string]string{}
		for _, pcr := range kairos.PCRs {
			row.PCRs[fmt.Sprint(pcr)] = ""
		}
	}

	for index, value := range hexPCRs(p.Quote.PCRs) {
		if want, listed := row.PCRs[index]; listed && want == "" {
			row.PCRs[index], row.Enrolled = value, row.Last
			t.Bump()
		}
	}
}

// match finds the partition: the first one of which any name that it has
// is the request's.
func (row *machine) match(r kairos.Request) *partition {
	for i := range row.Partitions {
		p := &row.Partitions[i]
		if !p.Removed && (p.Label != "" && p.Label == r.Label || p.Device != "" && p.Device == r.Name || p.UUID != "" && p.UUID == r.UUID) {
			return p
		}
	}
	return nil
}

// adopt makes a partition of a request. The kernel's name for a disk
// changes, so it counts only if there is nothing else.
func (row *machine) adopt(r kairos.Request) *partition {
	p := partition{ID: newPartitionID(), Volume: "tofu-" + row.Hash.String()[:8], Label: r.Label, UUID: r.UUID}
	if r.Label == "" && r.UUID == "" {
		p.Device = r.Name
	}
	if p.Label == "" && p.UUID == "" && p.Device == "" {
		return nil
	}
	row.Partitions = append(row.Partitions, p)
	return &row.Partitions[len(row.Partitions)-1]
}

// taken tells whether lk1 has the volume under any of its names: what
// it protects from replay must not be had without a nonce.
func (v view) taken(r kairos.Request, p *partition) (bool, error) {
	names := []string{r.UUID, p.UUID}
	for _, label := range []string{r.Label, p.Label} {
		if label != "" {
			names = append(names, mapping.KairosUUID(label))
		}
	}
	for _, name := range names {
		uuid, err := kms.ParseUUID(name)
		if err != nil {
			continue // no UUID: lk1 has no such volume
		}
		if taken, err := v.k.c.Taken(v.View, uuid); err != nil || taken {
			return taken, err
		}
	}
	return false, nil
}

// placeOfAK is the place of an attestation key that was seen.
func placeOfAK(hash kms.NodeID, ak [32]byte) []byte { return append(hash[:], ak[:]...) }

// secretName is where a Secret of the operator's stands: both parts are
// hashed, so that no name can reach another's.
func secretName(name, key string) []byte {
	n, k := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(key))
	return append(append([]byte("n"), n[:]...), k[:]...)
}

// ownSecret is where the secret of a node's partition stands.
func ownSecret(hash kms.NodeID, id string) []byte {
	return append(append([]byte("o"), hash[:]...), id...)
}

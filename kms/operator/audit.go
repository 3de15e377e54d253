package operator

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"latchkey/internal/certfile"
	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/kms"
	"latchkey/kms/history"
	"latchkey/kms/history/archive"
	"latchkey/kms/history/export"
	"latchkey/kms/ledger"
)

// Archived is what a run of Archive did.
type Archived struct {
	Written int `json:"written"` // segments
	There   int `json:"there"`   // segments that were there already
	Gone    int `json:"gone"`    // segments that are neither there nor in the store
}

// errGone is a segment that cannot be archived any more.
var errGone = errors.New("its events were removed")

// Archive writes the sealed segments of the audit log that an archive lacks.
func (c *Client) Archive(ctx context.Context, a archive.Archive) (done Archived, err error) {
	all, err := c.Segments(ctx)
	if err != nil {
		return done, err
	}
	for _, s := range all {
		wrote, err := a.Put(s, func(w io.Writer) error {
			if s.Removed {
				return errGone
			}
			query := url.Values{"number": {strconv.FormatUint(s.Number, 10)}}
			if s.Server != "" {
				query.Set("server", s.Server)
			}
			return c.Call(ctx, "GET", "/v1/audit/segment", query, nil, w)
		})
		switch {
		case errors.Is(err, errGone):
			done.Gone++
		case err != nil:
			return done, fmt.Errorf("archiving the audit log: %w", err)
		case wrote:
			done.Written++
		default:
			done.There++
		}
	}
	return done, nil
}

// Segments are the sealed segments of the audit log.
func (c *Client) Segments(ctx context.Context) (all []ledger.Segment, err error) {
	err = c.Call(ctx, "GET", "/v1/audit/segments", nil, nil, &all)
	return all, err
}

// Sink is where an export of the audit log goes: to w, or to the URL of a
// collector, whose certificate a CA's file is for.
func Sink(ctx context.Context, form, to, ca string, w io.Writer) (export.Sink, error) {
	if to == "" {
		sink, err := export.Lines(form, w)
		if err != nil {
			err = cli.Usagef("--%w", err)
		}
		return sink, err
	}
	config, err := certfile.Client(tls.VersionTLS12, ca, "", "")
	if err != nil {
		return nil, err
	}
	sink, err := export.Send(ctx, form, to, config)
	if err != nil {
		err = fmt.Errorf("exporting the audit log: %w", err)
	}
	return sink, err
}

// An Audit is what somebody verifies of the audit log's history: files.
type Audit struct {
	Archive    string   // folder
	Pins       []string // public keys of the KMS
	Checkpoint string   // file of a checkpoint that was kept
	Proof      string   // file
}

// maxNote bounds a checkpoint's or a proof's file, in bytes.
const maxNote = 2 << 20

// Against verifies the checkpoint and the archive by the segments that a
// server names.
func (a Audit) Against(all []ledger.Segment) (r archive.Report, err error) {
	kept, err := a.kept() // the log itself says whether it had them
	if err != nil {
		return r, err
	}
	for _, k := range kept {
		if err := covered(k, all); err != nil {
			return r, err
		}
	}
	if a.Archive == "" {
		return r, nil
	}
	r, err = archive.Archive{Dir: a.Archive}.Against(all)
	if err != nil {
		err = fmt.Errorf("verifying the archive: %w", err)
	}
	return r, err
}

// covered tells whether a checkpoint is one of the segments'.
func covered(k history.Head, all []ledger.Segment) error {
	for _, s := range all {
		h, err := history.Parse(s.Checkpoint)
		if err != nil || h.Origin != k.Origin || h.Size != k.Size {
			continue
		}
		if h.Root != k.Root {
			return fmt.Errorf("verifying the checkpoint of %d events: %w: the log has other ones", k.Size, history.ErrPutBack)
		}
		return nil
	}
	return fmt.Errorf("verifying the checkpoint of %d events of %s: %w: the log has no such checkpoint", k.Size, k.Origin, history.ErrTruncated)
}

// kept reads the checkpoints that were kept elsewhere; one of the keys, if
// there are any, signed each.
func (a Audit) kept(keys ...ed25519.PublicKey) ([]history.Head, error) {
	if a.Checkpoint == "" {
		return nil, nil
	}
	b, err := datafile.Read(a.Checkpoint, maxNote)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	all, err := history.ParseAll(string(b), keys...)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint %s: %w", a.Checkpoint, err)
	}
	return all, nil
}

func (a Audit) keys() (keys []ed25519.PublicKey, err error) {
	for _, text := range a.Pins {
		pin, err := kms.ParsePin(text)
		if err != nil {
			return nil, cli.Usagef("--pin %.80q: %w", text, err)
		}
		keys = append(keys, pin[:])
	}
	return keys, nil
}

// Alone verifies the archive by the keys, and asks nobody.
func (a Audit) Alone() (r archive.Report, err error) {
	keys, err := a.keys()
	if err != nil {
		return r, err
	}
	kept, err := a.kept(keys...)
	if err != nil {
		return r, err
	}
	if r, err = (archive.Archive{Dir: a.Archive}).Alone(keys, kept); err != nil {
		err = fmt.Errorf("verifying the archive: %w", err)
	}
	return r, err
}

// Proven is the event that the proof proves, by the keys.
func (a Audit) Proven() ([]byte, error) {
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}
	b, err := datafile.Read(a.Proof, maxNote)
	if err != nil {
		return nil, fmt.Errorf("reading the proof: %w", err)
	}
	p, err := history.ParseProof(string(b))
	if err != nil {
		return nil, fmt.Errorf("reading the proof %s: %w", a.Proof, err)
	}
	h, err := history.Open(p.Checkpoint, keys...)
	if err == nil {
		err = p.Verify(h)
	}
	if err != nil {
		return nil, fmt.Errorf("verifying the proof: %w", err)
	}
	return p.Event, nil
}

package ledger

import (
	"bufio"
	"context"
	"fmt"
	"io"
)

// putAway puts the sealed segments into an archive that are not there yet, the
// oldest first.
func (l *Ledger) putAway(ctx context.Context, to Archiver) error {
	var all []Segment
	err := l.Read(func(v View) (err error) {
		all, err = v.Segments()
		return err
	})
	if l.archived == nil || l.aged.archive != to {
		l.aged.archive, l.archived = to, map[string]uint64{}
	}
	for _, s := range all {
		if err != nil || ctx.Err() != nil {
			break
		}
		if s.Removed || s.Number <= l.archived[s.Server] {
			continue
		}
		var wrote bool
		wrote, err = to.Put(s, func(w io.Writer) error { return l.writeSegment(w, s) })
		if err == nil {
			l.archived[s.Server] = s.Number
		}
		if wrote {
			l.log.Info("archived a segment of the audit log", "segment", s.Number, "events", s.End-s.Start, "server", s.Server)
		}
	}
	if err != nil {
		err = fmt.Errorf("archiving the audit log, of which nothing is removed meanwhile: %w", err)
	}
	return err
}

func (l *Ledger) writeSegment(w io.Writer, s Segment) error {
	out := bufio.NewWriter(w)
	err := l.Segment(s.Server, s.Number, func(event []byte) error {
		out.Write(event)
		return out.WriteByte('\n')
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

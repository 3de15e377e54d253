// Package witness asks a witness, by HTTP, to cosign a checkpoint: C2SP
// tlog-witness.
package witness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"latchkey/kms/history"
)

// A Witness is somebody who cosigns checkpoints of logs that they know.
type Witness struct {
	URL    string // below it is add-checkpoint
	Key    history.WitnessKey
	Client *http.Client // with a timeout
}

// Name is the name in its key.
func (w Witness) Name() string { return w.Key.Name }

// Cosigned finds a line of the witness in what it sent, and the time that it
// says.
func (w Witness) Cosigned(checkpoint, lines string) (string, time.Time, error) {
	return w.Key.Cosigned(checkpoint, lines)
}

// maxAnswer bounds what a witness answers, in bytes.
const maxAnswer = 16 << 10

// Ask has the witness cosign a checkpoint, with the proof that it begins with
// the log of the size that the witness saw last. It returns the line to add,
// or a *history.Behind.
func (w Witness) Ask(ctx context.Context, checkpoint string, old uint64, proof []tlog.Hash) (line string, err error) {
	var body strings.Builder
	fmt.Fprintf(&body, "old %d\n", old)
	for _, h := range proof {
		fmt.Fprintln(&body, h)
	}
	body.WriteString("\n" + checkpoint)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(w.URL, "/")+"/add-checkpoint", strings.NewReader(body.String()))
	if err != nil {
		return "", fmt.Errorf("asking the witness %s: %w", w.Key.Name, err)
	}
	answer, err := w.Client.Do(r)
	if err != nil {
		return "", fmt.Errorf("asking the witness %s: %w", w.Key.Name, err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("asking the witness %s: %w", w.Key.Name, err)
	}
	switch answer.StatusCode {
	case http.StatusOK:
		line, _, err = w.Key.Cosigned(checkpoint, string(said))
		return line, err
	case http.StatusConflict:
		if size, err := strconv.ParseUint(strings.TrimSpace(string(said)), 10, 62); err == nil {
			return "", &history.Behind{Size: size}
		}
	}
	return "", fmt.Errorf("asking the witness %s: %w: HTTP status %d: %.80q", w.Key.Name, history.ErrNotCosigned, answer.StatusCode, strings.TrimSpace(string(said)))
}

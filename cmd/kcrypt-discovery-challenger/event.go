package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/unlock/source/kairos"
)

// An event is what Kairos' bus writes to a plugin.
type event struct {
	Name string `json:"name"`
	Data string `json:"data"`
	File string `json:"file"` // read instead of Data
}

// A partition as the generations of Kairos write it.
type partition struct {
	Name            string `json:"name"`
	Label           string `json:"label"`
	FilesystemLabel string `json:"filesystem_label"`
	UUID            string `json:"uuid"`
}

// A payload is the partition itself or, since the new generation, the
// partition and the settings.
type payload struct {
	partition
	Partition   *partition `json:"partition"`
	Server      string     `json:"challenger_server"`
	MDNS        bool       `json:"mdns"`
	Certificate string     `json:"certificate"`
}

// maxEvent bounds what is read, in bytes.
const maxEvent = 1 << 20

// eventName is the only event that is answered.
const eventName = "discovery.password"

func eventCommand(ctx context.Context, o *options) *cobra.Command {
	return &cobra.Command{
		Use: eventName, Short: "Answer Kairos' event of this name",
		Long: `Reads Kairos' event on standard input and answers it with one line of JSON on
standard output. It exits 0 also when there is no passphrase: then the answer
has an error. The event is to be there within 10 s; standard input may stay
open. Another event is refused.`,
		Example: `  echo '{"name":"discovery.password","data":"{\"label\":\"COS_OEM\"}"}' |
      kcrypt-discovery-challenger discovery.password`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return o.event(ctx) },
	}
}

func (o *options) event(ctx context.Context) error {
	p, err := o.answer(ctx)
	defer p.Wipe()
	if err == nil && !utf8.Valid(p.Reveal()) {
		err = errors.New("the passphrase is no text, which Kairos' event needs")
	}
	text := ""
	if err != nil {
		if text = strings.ReplaceAll(err.Error(), "\n", "; "); errors.Is(err, context.Canceled) {
			text = "interrupted" // nothing but a signal cancels
		}
		p.Wipe()
		p = secret.Bytes{}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(struct {
		State string `json:"state"`
		Data  string `json:"data"`
		Error string `json:"error"`
		Log   string `json:"log"`
	}{Data: string(p.Reveal()), Error: text}); err != nil {
		return err
	}
	_, err = out.WriteTo(o.stdout)
	return err
}

// answer is the passphrase that an event asks for.
func (o *options) answer(ctx context.Context) (secret.Bytes, error) {
	r, err := within(ctx, o.limits.event, o.limits.ending, "no whole event came on standard input", func(context.Context) (kairos.Request, error) {
		return o.readEvent()
	})
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the event: %w", err)
	}
	o.attempts = defaultAttempts
	return o.passphrase(ctx, r)
}

// readEvent reads which partition is meant, and takes the settings that come
// with it.
func (o *options) readEvent() (kairos.Request, error) {
	var e event
	if err := decode(o.stdin, &e); err != nil {
		return kairos.Request{}, err
	}
	if e.Name != eventName {
		return kairos.Request{}, fmt.Errorf("its name is %.64q, want %q", e.Name, eventName)
	}
	var data io.Reader = strings.NewReader(e.Data)
	if e.File != "" {
		f, err := os.Open(e.File)
		if err != nil {
			return kairos.Request{}, err
		}
		defer f.Close()
		data = f
	}
	var p payload
	if err := decode(data, &p); err != nil {
		return kairos.Request{}, fmt.Errorf("its data: %w", err)
	}

	o.server, o.mdns, o.certificate = p.Server, p.MDNS, p.Certificate
	if p.Partition != nil {
		p.partition = *p.Partition
	}
	r := kairos.Request{Label: p.FilesystemLabel, Name: p.Name, UUID: p.UUID}
	if r.Label == "" {
		r.Label = p.Label
	}
	if r == (kairos.Request{}) {
		return r, errors.New("its data names no partition")
	}
	return r, nil
}

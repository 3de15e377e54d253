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

func eventCommand(ctx context.Context, o *options) *cobra.Command {
	return &cobra.Command{
		Use: "discovery.password", Short: "Answer Kairos' event of this name",
		Long: `Reads Kairos' event on standard input and answers it with one line of JSON on
standard output. It exits 0 also when there is no passphrase: then the answer
has an error.`,
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
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
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
	r, err := o.readEvent()
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the event: %w", err)
	}
	o.attempts = defaultAttempts
	return o.passphrase(ctx, r)
}

// readEvent reads which partition is meant, and takes the settings that come
// with it.
func (o *options) readEvent() (kairos.Request, error) {
	text, err := readBounded(o.stdin)
	if err != nil {
		return kairos.Request{}, err
	}
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		return kairos.Request{}, err
	}
	data := []byte(e.Data)
	if e.File != "" {
		if data, err = readFile(e.File); err != nil {
			return kairos.Request{}, err
		}
	}
	var p payload
	if err := json.Unmarshal(data, &p); err != nil {
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

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxEvent+1))
	if err == nil && len(text) > maxEvent {
		err = fmt.Errorf("it has more than %d bytes", maxEvent)
	}
	return text, err
}

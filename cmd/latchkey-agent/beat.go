package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/boot/beat"
	"latchkey/discover"
	"latchkey/internal/cli"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// Bounds of --every: presence is five minutes at least, and a beat counts when
// the next one comes.
const (
	leastEvery   = 10 * time.Second
	mostEvery    = 24 * time.Hour
	defaultEvery = time.Minute
)

type beatOptions struct {
	config, tpm string
	urls        []string
	every       time.Duration
	once        bool
}

func beatCommand(ctx context.Context, stderr io.Writer) *cobra.Command {
	var o beatOptions
	c := &cobra.Command{
		Use: "beat", Short: "Say once a minute that this running machine is there",
		Long: `Tells the key server that this machine runs, until it is ended. Where the policy
has "presence: 10m", a machine that was seen lately reboots unattended, and one
that vanished waits for "latchkey-kms node renew": a thief gets nothing.

A beat has 196 bytes, signed by a key that the TPM has for this boot only. Key
server, keys and volumes are those of /etc/latchkey/latchkey.yaml, which the
program latchkey reads. One line of the log says when the machine is seen, and
one why it is not.

With --once it says so a single time and ends, for timers and cron. That is a
whole exchange: every five minutes is often enough then.`,
		Example: `  systemctl enable --now latchkey-beat
  latchkey-agent beat --once`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return o.run(ctx, stderr) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "/etc/latchkey/latchkey.yaml", "the configuration, YAML")
	f.StringVar(&o.tpm, "tpm", tpm.DefaultPath, "the TPM: a device, or the socket of a software TPM")
	f.StringArrayVar(&o.urls, "kms", nil, "the key server, as http://HOST[:PORT]; repeatable (default: find of the configuration)")
	f.DurationVar(&o.every, "every", defaultEvery, "how long between two beats")
	f.BoolVar(&o.once, "once", false, "say it a single time, and end")
	return c
}

func (o beatOptions) run(ctx context.Context, stderr io.Writer) error {
	if o.every < leastEvery || o.every > mostEvery {
		return cli.Usagef("--every is %s, want %s to %s", o.every, leastEvery, mostEvery)
	}
	p, err := o.plan(ctx)
	if err != nil {
		return err
	}
	m, err := o.machine(p)
	if err != nil {
		return err
	}
	m.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	if o.once {
		return m.Once(ctx)
	}
	m.Run(ctx)
	return nil
}

// withoutTime leaves the time to who keeps the log.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// plan has the program latchkey read the configuration: it is the one that
// knows its form.
func (o beatOptions) plan(ctx context.Context) (*plan.Plan, error) {
	var out, said bytes.Buffer
	c := exec.CommandContext(ctx, "latchkey", "plan", "show", "--json", o.config)
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			return nil, &cli.Exit{Code: cli.Usage, Err: errors.New(strings.TrimPrefix(text, "latchkey: "))}
		}
		return nil, fmt.Errorf("having latchkey read %s: %w", o.config, err)
	}
	var shown struct {
		Plan *plan.Plan `json:"plan"`
	}
	if err := json.Unmarshal(out.Bytes(), &shown); err != nil || shown.Plan == nil {
		return nil, fmt.Errorf("reading %s: latchkey plan show printed no plan: are latchkey and latchkey-agent of one version?", o.config)
	}
	return shown.Plan, nil
}

// machine is this one, by its plan.
func (o beatOptions) machine(p *plan.Plan) (*beat.Machine, error) {
	m := &beat.Machine{Every: o.every, Jitter: rand.Float64}
	for _, key := range p.Trust.KMS {
		pin, err := kms.ParsePin(string(key))
		if err != nil {
			return nil, fmt.Errorf("%s: trust.kms: %w", o.config, err)
		}
		m.Pins = append(m.Pins, pin)
	}
	for _, v := range p.Volumes {
		uuid, err := kms.ParseUUID(v.UUID)
		if err != nil {
			return nil, fmt.Errorf("%s: volumes: %w", o.config, err)
		}
		if len(m.Wants) < kms.MaxVolumes {
			m.Wants = append(m.Wants, kms.Want{UUID: uuid})
		}
	}
	if len(m.Pins) == 0 || len(m.Wants) == 0 {
		return nil, cli.Usagef("%s names no key server's key (trust.kms) or no volume: there is nobody to tell", o.config)
	}

	query := discover.Query{URLs: p.Find.URLs, Services: p.Find.Services}
	if len(o.urls) > 0 {
		query = discover.Query{URLs: o.urls}
	}
	if _, err := discover.NewFinder(query, discover.System{}, slog.New(slog.DiscardHandler)); err != nil {
		return nil, cli.Usagef("where the key server is: %w", err)
	}
	m.Servers = &beat.LAN{Query: query}
	ek := map[string]tpm.EK{"": tpm.EKAuto, "p256": tpm.EKP256, "rsa2048": tpm.EKRSA2048}[p.TPM.EK]
	m.Open = func(ctx context.Context) (beat.Key, error) { return openTPM(ctx, o.tpm, ek) }
	return m, nil
}

type signer = tpm.BeatKey // whose name is that of a method, too

// A chip is a TPM with its key of beats, which also closes the device.
type chip struct {
	*signer
	device *tpm.TPM
}

func (c chip) Close() {
	c.signer.Close()
	c.device.Close()
}

func openTPM(ctx context.Context, path string, ek tpm.EK) (beat.Key, error) {
	device, err := tpm.Open(path)
	if err != nil {
		return nil, err
	}
	id, err := device.Identify(ctx, tpm.Options{EK: ek})
	if err != nil {
		device.Close()
		return nil, err
	}
	return chip{tpm.NewBeatKey(id), device}, nil
}

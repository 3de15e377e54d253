// Package beat has a running machine say that it is there: it registers a key
// of its TPM that dies with this boot, and then beats, for as long as it runs.
// Docs/presence.md says what that is for.
package beat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"latchkey/boot/codes"
	"latchkey/kms"
)

// A Key signs beats. Close frees what it has of the TPM.
type Key interface {
	kms.Beater
	Close()
}

// A Server is where a key server may be. It is never trusted.
type Server struct {
	URL  string // what it is called
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	at   string // the address that Dial leads to
}

// Servers finds key servers.
type Servers interface {
	// Next waits for one that was not set aside. It fails only when ctx ends.
	Next(ctx context.Context) (Server, error)
	// SetAside says that a server was of no use: others come first.
	SetAside(Server)
}

// A Machine is one that beats.
type Machine struct {
	Pins    []kms.Pin  // of the key servers that its plan trusts
	Wants   []kms.Want // the volumes of its plan
	Servers Servers
	Open    func(ctx context.Context) (Key, error) // opens the TPM
	Every   time.Duration                          // between two beats
	Jitter  func() float64                         // from 0 to 1, not 1
	Log     *slog.Logger

	key    Key
	server *Server
	beats  *kms.Beats
	heard  time.Time // when the key server last answered, by the wall clock: a machine may sleep
	failed int       // how often it did not, since
	said   string    // the last line of the log
}

// Bounds of waiting: a failure is tried again soon, but not in a loop, and who
// is refused costs key server and TPM a whole exchange.
const (
	firstPause  = 5 * time.Second
	refusedMost = 10 * time.Minute
	patience    = time.Minute // for one exchange, the search for a server among it
)

// Run beats until ctx ends.
func (m *Machine) Run(ctx context.Context) {
	defer m.forget()
	for ctx.Err() == nil {
		sleep(ctx, m.turn(ctx))
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Once registers, which says that the machine is there now.
func (m *Machine) Once(ctx context.Context) error {
	defer m.forget()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := m.step(ctx)
		if err == nil || ctx.Err() != nil || m.server != nil || m.key == nil {
			return err
		}
		m.tell(err)
		m.failed++
		sleep(ctx, m.after(err))
	}
}

// turn is one beat, or the attempt at one, and says how long to wait then.
func (m *Machine) turn(ctx context.Context) time.Duration {
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, registered := m.heard, m.beats != nil
	err := m.step(asked)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		m.tell(err)
		m.failed++
		return m.after(err)
	}

	m.failed, m.heard = 0, time.Now().Round(0)
	m.tell(nil)
	// A ticket proves the time at which it was given out: after a pause the
	// machine is seen only by the next one.
	if late := m.heard.Sub(before); registered && late > 2*m.Every {
		return 0
	}
	return m.jittered(m.Every)
}

// step says once that the machine is there.
func (m *Machine) step(ctx context.Context) (err error) {
	if m.key == nil {
		if m.key, err = m.Open(ctx); err != nil {
			m.key = nil
			return fmt.Errorf("opening the TPM: %w", err)
		}
	}
	if m.server == nil {
		s, err := m.Servers.Next(ctx)
		if err != nil {
			return errNone
		}
		m.server = &s
	}
	client := &kms.Client{Pins: m.Pins, Dial: m.server.Dial}
	if m.beats == nil {
		m.beats, err = client.Register(ctx, m.server.URL, m.key, m.Wants)
	} else {
		err = client.Beat(ctx, m.server.URL, m.key, m.beats)
	}
	m.sort(err)
	return err
}

// errNone has the code of a server that cannot be reached.
var errNone = &none{}

type none struct{}

func (*none) Error() string { return "no key server of the plan was found" }
func (*none) Code() string  { return kms.CodeUnreachable }

// sort gives up what an error says is of no use any more.
func (m *Machine) sort(err error) {
	if err == nil {
		return
	}
	failed, ofKMS := errors.AsType[*kms.Error](err)
	switch {
	case !ofKMS: // of the TPM: it may be another one after the machine slept
		m.key.Close()
		m.key = nil
	case failed.Code() == kms.CodeNoGrant:
		if m.beats != nil {
			m.beats.Wipe()
		}
		m.beats = nil
	case failed.Code() == kms.CodeBusy, failed.Err == nil: // it decided so
	default:
		m.Servers.SetAside(*m.server)
		m.server = nil
	}
}

// after is how long to wait after an error.
func (m *Machine) after(err error) time.Duration {
	most := m.Every
	if failed, ok := errors.AsType[*kms.Error](err); ok {
		switch {
		case failed.Code() == kms.CodeNoGrant && m.failed == 1:
			return m.jittered(time.Second) // it registers
		case failed.Code() == kms.CodeBusy && failed.RetryAfter > 0:
			return m.jittered(failed.RetryAfter)
		case failed.Err == nil || failed.Code() == kms.CodeNoGrant:
			most = max(refusedMost, m.Every)
		}
	}
	pause := firstPause << min(m.failed-1, 10)
	return m.jittered(min(pause, most))
}

// jittered is nine to eleven tenths of d.
func (m *Machine) jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + m.Jitter()/5))
}

// tell writes a line when something has changed.
func (m *Machine) tell(err error) {
	line, level := "the key server sees this machine", slog.LevelInfo
	if err != nil {
		line, level = m.line(err), slog.LevelWarn
	}
	if line == m.said {
		return
	}
	m.said = line
	m.Log.Log(context.Background(), level, line)
}

// line is what failed, and what to do.
func (m *Machine) line(err error) string {
	code := codes.Of(err)
	advice := codes.Means(code).Advice
	switch {
	case code == kms.CodeNoGrant && m.failed > 0:
		advice = "does it know beats? Its log says why"
	case code == kms.CodeNoGrant:
		advice = "this machine registers again"
	}
	if code == "" || advice == "" {
		return "not seen: " + err.Error()
	}
	return fmt.Sprintf("not seen: %s: %s (%s)", code, err, advice)
}

// forget frees the TPM.
func (m *Machine) forget() {
	if m.beats != nil {
		m.beats.Wipe()
	}
	if m.key != nil {
		m.key.Close()
	}
	m.key, m.beats, m.server = nil, nil, nil
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/boot/worker"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/md/control"
)

// mostPause is the longest pause before something is tried again.
const mostPause = 30 * time.Second

// fetch has the worker fetch what opens the volumes. It ends when the boot has
// all that it needs, when that can never be, or when ctx does.
func (a *Agent) fetch(ctx context.Context) error {
	incarnation := -1
	return a.again(ctx, func() error {
		incarnation++
		return a.once(ctx, incarnation)
	})
}

// again does what may fail for a while, until it is done, fails for good, or
// ctx ends.
func (a *Agent) again(ctx context.Context, f func() error) error {
	for pause := time.Second; ; pause = min(2*pause, mostPause) {
		err := f()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return errOver
		case codes.Means(codes.Of(err)).Class == codes.Final:
			return err
		}
		a.say(fmt.Errorf("%w; trying again", err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errOver
		}
	}
}

// once runs one worker until it has fetched or ends.
func (a *Agent) once(ctx context.Context, incarnation int) error {
	sock := newSocket()
	context.AfterFunc(ctx, sock.end)
	h := &holder{System: a.sys, agent: a}
	go func() {
		defer close(sock.gone)
		defer sock.end()
		defer h.closeTPM()
		worker.Run(h, wire.NewConn(sock), incarnation)
	}()

	entered := wire.Record{Kind: wire.KindEntered}
	if a.noTPM != nil {
		entered.Code, entered.Text = codes.Of(a.noTPM), a.noTPM.Error()
	}
	sock.tell(entered)
	sock.tell(wire.Record{Kind: wire.KindCiphers}) // nobody needs them here
	failure := codes.Fail(codes.Failed, "the search for keys ended without a word")
	for {
		select {
		case r := <-sock.said:
			if r.Kind == wire.KindDone {
				a.worker = sock.gone
				go sock.drain()
				return nil
			}
			if r.Kind == wire.KindFailed {
				failure = codes.Fail(r.Code, "%s", r.Text)
			}
			a.hear(r)
		case <-sock.gone:
			return failure
		case <-ctx.Done():
			go sock.drain()
			return ctx.Err()
		}
	}
}

// hear takes what the worker tells.
func (a *Agent) hear(r wire.Record) {
	switch r.Kind {
	case wire.KindOpened:
		a.opened[r.Name] = opened{r.Digests, r.Text}
	case wire.KindWaiting:
		a.say(codes.Fail(r.Code, "%s", r.Text))
	case wire.KindClosed:
		a.say(codes.Fail(r.Code, "volume %s is left closed: %s", r.Name, r.Text))
	case wire.KindStep:
		a.log.Info(r.Name, "detail", r.Text, "code", r.Code, "ms", r.Duration.Milliseconds())
	}
}

// A holder is the worker's System. Others map, and run arrays.
type holder struct {
	System
	agent *Agent
	mu    sync.Mutex
	tpm   worker.TPM
}

// Plan implements worker.System.
func (h *holder) Plan() (*plan.Plan, string, error) {
	_, cmdline, err := h.System.Plan()
	return h.agent.plan, cmdline, err
}

// Map implements worker.Disks: it maps nothing.
func (*holder) Map(dm.Target, luks2.VolumeKey) error { return nil }

// RunCached implements worker.Disks.
func (*holder) RunCached(string) error { return errors.ErrUnsupported }

// RunArray implements worker.Disks.
func (*holder) RunArray(control.Start, string) error {
	return errors.New("it is left to mdadm, which this early boot must have")
}

// Console implements worker.System: the prompt is others'.
func (*holder) Console() (io.ReadWriteCloser, error) { return nil, errors.ErrUnsupported }

// Hold implements worker.Keyholder.
func (h *holder) Hold(v *unlock.Volume, passphrase secret.Bytes) { h.agent.keys.hold(v, passphrase) }

// OpenTPM implements worker.System.
func (h *holder) OpenTPM() (worker.TPM, error) {
	t, err := h.System.OpenTPM()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tpm = t
	return t, err
}

// closeTPM has the TPM forget what a worker loaded into it.
func (h *holder) closeTPM() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.tpm.(io.Closer); ok {
		c.Close()
	}
}

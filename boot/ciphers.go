package boot

import (
	"latchkey/boot/wire"
)

// ciphers are the modules that every boot needs. PID 1 loads them itself:
// a worker that is killed in the middle of a cipher's self-test leaves the
// kernel with a cipher that it holds for broken, until the next reboot
// ("alg: Unexpected test result for aes-aesni", then "Error allocating
// crypto tfm" for every mapping). Their names come from the image alone.
type ciphers struct {
	loading chan error // nil before and after
	loaded  bool
}

// loadCiphers starts loading, or tells a later worker that it is done.
func (b *pid1) loadCiphers() {
	c := &b.ciphers
	switch {
	case c.loaded:
		b.tellCiphers()
	case c.loading == nil:
		c.loading = make(chan error, 1)
		names, blocked := b.plan.Modules.Always, b.plan.Modules.Blocked
		go func() { c.loading <- b.sys.Load(names, blocked) }()
	}
}

// ciphersLoaded notes the end. A module that failed is not fatal here:
// what really is missing shows when a volume is mapped.
func (b *pid1) ciphersLoaded(err error) {
	b.ciphers.loading, b.ciphers.loaded = nil, true
	if err != nil {
		b.sys.Log(Human, "loading the ciphers: "+err.Error())
	}
	b.tellCiphers()
}

func (b *pid1) tellCiphers() {
	b.worker.send(wire.Record{Kind: wire.KindCiphers})
}

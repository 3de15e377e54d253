package main

// kairosNode are rules of the machine's side of Kairos' protocol.
var kairosNode = []mutant{
	{`unlock/tpm/kairosprove.go: the EK at 0x81010001 is the right one`, `unlock/tpm/kairosprove.go`, `err == nil && bad == nil && bytes.Equal(spki, k.spki)`, `err == nil && bad == nil && spki != nil`, `./unlock/tpm`, `TestKairosForeignCertificate|TestKairosPersistentEK`},
	{`unlock/tpm/kairosprove.go: the EK that is made is the right one`, `unlock/tpm/kairosprove.go`, `err != nil || !bytes.Equal(spki, k.spki)`, `err != nil || spki == nil`, `./unlock/tpm`, `TestKairosForeignCertificate`},
	{`unlock/tpm/kairosprove.go: whole TPM2B`, `unlock/tpm/kairosprove.go`, `int(b[0])<<8+int(b[1]) != len(b)-2`, `false`, `./unlock/tpm`, `TestKairosRefuses`},
	{`unlock/tpm/kairosprove.go: nothing stays loaded`, `unlock/tpm/kairosprove.go`, `defer id.release(c)`, ``, `./unlock/tpm`, `TestKairosProves`},
	{`unlock/tpm/kairosnv.go: nothing is written over`, `unlock/tpm/kairosnv.go`, `err == nil && !bytes.Equal(tpm2.Marshal(*there), tpm2.Marshal(public))`, `false`, `./unlock/tpm`, `TestKairosKey`},
	{`unlock/tpm/kairosnv.go: a power cut`, `unlock/tpm/kairosnv.go`, `, isRC(err, tpm2.TPMRCNVUninitialized):`, `:`, `./unlock/tpm`, `TestKairosKey`},
	{`unlock/source/kairos/kairos.go: the older generation only where allowed`, `unlock/source/kairos/kairos.go`, `if c.Legacy && (`, `if (`, `./unlock/source/kairos`, `TestGenerations`},
	{`unlock/source/kairos/kairos.go: an upgrade`, `unlock/source/kairos/kairos.go`, ` || errors.Is(err, errSealed)`, ``, `./unlock/source/kairos`, `TestGenerations`},
	{`unlock/source/kairos/kairos.go: a fresh key`, `unlock/source/kairos/kairos.go`, `if c.spent || !c`, `if !c`, `./unlock/source/kairos`, `TestGenerations`},
	{`unlock/source/kairos/kairos.go: names`, `unlock/source/kairos/kairos.go`, `return c < ' ' || c > '~' }) || len(h.value) > maxName`, `return c == 7 })`, `./unlock/source/kairos`, `TestNames`},
	{`unlock/source/kairos/exchange.go: only who encrypts makes one`, `unlock/source/kairos/exchange.go`, `if !c.Generate || `, `if `, `./unlock/source/kairos`, `TestGenerations`},
	{`unlock/source/kairos/exchange.go: sealed is no passphrase`, `unlock/source/kairos/messages.go`, `case m.GeneratedBy != byTPM:`, `case true:`, `./unlock/source/kairos`, `TestGenerations|TestRecordedLegacy`},
	{`unlock/source/kairos/socket.go: accept`, `unlock/source/kairos/socket.go`, `(value == want || name != "sec-websocket-accept" && strings.EqualFold(value, want))`, `(value == want || name == "sec-websocket-accept" || strings.EqualFold(value, want))`, `./unlock/source/kairos`, `TestSockets`},
	{`unlock/source/kairos/socket.go: nothing more than was asked for`, `unlock/source/kairos/socket.go`, `name == "sec-websocket-extensions"`, `name == "x"`, `./unlock/source/kairos`, `TestSockets`},
	{`unlock/source/kairos/socket.go: a bounded head`, `unlock/source/kairos/socket.go`, `if len(b) == maxHead {`, `if len(b) == 99*maxHead {`, `./unlock/source/kairos`, `TestSockets`},
	{`unlock/source/kairos/socket.go: a bounded message`, `unlock/source/kairos/socket.go`, `if f.size > len(b) {`, `if f.size > maxMessage {`, `./unlock/source/kairos`, `TestSockets`},
	{`unlock/source/kairos/socket.go: bounded control frames`, `unlock/source/kairos/socket.go`, `controls > maxControl`, `controls > 99*maxControl`, `./unlock/source/kairos`, `TestSockets`},
	{`unlock/source/kairos/socket.go: no masked frame`, `unlock/source/kairos/socket.go`, ` || head[1]&maskBit != 0`, ``, `./unlock/source/kairos`, `TestSockets`},
	{`unlock/source/kairos/socket.go: fragments in turn`, `unlock/source/kairos/socket.go`, `case (f.op == continuation) != begun:`, `case false:`, `./unlock/source/kairos`, `TestSockets`},
	{`unlock/source/kairos/socket.go: ends with the context`, `unlock/source/kairos/socket.go`, `context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })`, `func() bool { return true }`, `./unlock/source/kairos`, `TestSilence`},
	{`unlock/source/kairos/url.go: no odd letters on the wire`, `unlock/source/kairos/url.go`, `return r <= ' ' || r > '~' })`, `return r == 7 })`, `./unlock/source/kairos`, `TestURL`},
}

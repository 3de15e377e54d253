package main

// secure are the rules by which servers are asked over TLS.
var secure = []mutant{
	{`a server over TLS is one that the plan knows`, `unlock/source/clevis/url.go`, `case scheme == "https" && tls:`, `case scheme == "https":`, `./unlock/source/clevis`, `TestURL`},
	{`the port of https`, `unlock/source/clevis/url.go`, `port = ":443"`, ``, `./unlock/source/clevis`, `TestURL`},
	{`a chain leads to a CA of the plan`, `internal/tlsclient/tlsclient.go`, "	if !expired(err) {\n		return err", "	if !expired(err) {\n		return nil", `./internal/tlsclient`, `TestClient`},
	{`certificates are for the server's name`, `internal/tlsclient/tlsclient.go`, `DNSName: s.host, `, ``, `./internal/tlsclient`, `TestClient`},
	{`certificates were valid together`, `internal/tlsclient/tlsclient.go`, `slices.Concat(chain, s.cas)`, `chain[:0]`, `./internal/tlsclient`, `TestClient`},
	{`what else is amiss than the time`, `internal/tlsclient/tlsclient.go`, `err = other`, ``, `./internal/tlsclient`, `TestClient`},
	{`a pin is of the server's own key`, `internal/tlsclient/tlsclient.go`, `case slices.Contains(s.pins, Pin(chain[0])):`, `case slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return slices.Contains(s.pins, Pin(c)) }):`, `./internal/tlsclient`, `TestClient`},
	{`no CA but those of the plan`, `internal/tlsclient/tlsclient.go`, `case len(s.cas) == 0:`, `case false:`, `./internal/tlsclient`, `TestClient`},
	{`a chain is bounded`, `internal/tlsclient/tlsclient.go`, ` || len(chain) > maxChain:`, `:`, `./internal/tlsclient`, `TestClient`},
	{`TLS 1.2`, `internal/tlsclient/tlsclient.go`, `MinVersion: tls.VersionTLS12`, `MinVersion: tls.VersionTLS10`, `./internal/tlsclient`, `TestOldTLS`},
	{`intermediates are the server's to show`, `internal/tlsclient/tlsclient.go`, `o.Intermediates.AddCert(c)`, ``, `./internal/tlsclient`, `TestClient`},
	{`a zone is no name`, `internal/tlsclient/tlsclient.go`, `strings.Cut(to.Host, "%")`, `strings.Cut(to.Host, "?")`, `./internal/tlsclient`, `TestClient`},
	{`an init without TLS asks nobody in the clear`, `boot/worker/servers.go`, `|| !at.secure {`, `|| !at.secure || n.worker.sys.TLS() == nil {`, `./boot`, `ClevisSource`},
	{`the plan says that TLS is needed`, `internal/plan/tls.go`, `return p.NeedsTang() && p.Clevis.TLS.Any()`, `return p.Clevis.TLS.Any()`, `./internal/plan`, `ClevisNeeds`},
	{`an init without TLS is refused`, `initramfs/tls.go`, `if p.NeedsTLS() && !HasTLS(init) {`, `if false {`, `./initramfs`, `InitForTLS`},
	{`the plan names its init`, `initramfs/tls.go`, `return "latchkey-init-tls"`, `return "latchkey-init"`, `./cmd/latchkey`, `WhichInit`},
	{`no private key in the image`, `initramfs/tls.go`, `if text = rest; b.Type != "CERTIFICATE" {`, `if text = rest; false {`, `./initramfs`, `Certificates`},
	{`a CA is a certificate`, `initramfs/tls.go`, `if _, err := x509.ParseCertificate(b.Bytes); err != nil {`, `if false {`, `./initramfs`, `Certificates`},
	{`the system's init comes first`, `cmd/latchkey/image_init.go`, `	if o.system != "" {`, `	if false {`, `./cmd/latchkey`, `WhichInit`},
}

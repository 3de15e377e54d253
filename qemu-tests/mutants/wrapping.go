package main

// ofWrapping are rules of those who keep the wrapping key.
var ofWrapping = []mutant{
	{`exec: what is kept is not the key`, `kms/wrapping/exec.go`, `if shows(out, key) {`, `if false {`, `./kms/wrapping`, `TestProgramWraps`},
	{`exec: not in base64 either`, `kms/wrapping/exec.go`, `[]byte(base64.RawStdEncoding.EncodeToString(key.Reveal()))`, `key.Reveal()`, `./kms/wrapping`, `TestProgramWraps`},
	{`exec: a wrong PIN is not tried again`, `kms/wrapping/exec.go`, `slices.Contains(final, c.ProcessState`, `slices.Contains(final[:0], c.ProcessState`, `./kms/wrapping`, `TestProgramUnwraps`},
	{`exec: a failure's output is no key`, `kms/wrapping/exec.go`, `	case err != nil:`, `	case err != nil && out.Bytes() == nil:`, `./kms/wrapping`, `TestProgramUnwraps`},
	{`exec: a key is all that is written`, `kms/wrapping/exec.go`, `err == nil && n == KeySize {`, `(err == nil || true) && n == KeySize {`, `./kms/wrapping`, `TestProgramUnwraps`},
	{`exec: output is bounded`, `kms/wrapping/exec.go`, `case out.Over():`, `case false:`, `./kms/wrapping`, `TestProgramUnwraps`},
	{`exec: complaints are one line`, `kms/wrapping/exec.go`, `quoted(said.Line()))
	case out`, `quoted(string(said.Bytes())))
	case out`, `./kms/wrapping`, `TestProgramUnwraps`},
	{`exec: time is up`, `kms/wrapping/exec.go`, `context.WithTimeout(ctx, p.Timeout)`, `context.WithCancel(ctx)`, `./kms/wrapping`, `TestProgramEnds`},
	{`exec: with all that it started`, `internal/program/program.go`, `syscall.Kill(-c.Process.Pid`, `syscall.Kill(c.Process.Pid`, `./kms/wrapping`, `TestProgramEnds`},
	{`exec: none of our environment`, `internal/program/program.go`, `append([]string{"PATH=`, `append([]string{"SECRET=ours", "PATH=`, `./kms/wrapping`, `TestProgramUnwraps`},
	{`a key that is read back is the one that was written`, `kms/home/keeping.go`, `&& !back.Equal(key) {`, `&& false {`, `./cmd/latchkey-kms`, `TestWrappingExecReadsBack`},
	{`a change between two programs is finished`, `kms/home/keeping.go`, `return nil, err, true`, `return nil, err, false`, `./cmd/latchkey-kms`, `TestWrappingExecCut`},
	{`the HSM's PIN is tried once`, `images/packages/pkcs11`, `*CKR_PIN_*) die 77`, `*CKR_PIN_*) die 75`, `./cmd/latchkey-kms`, `TestWrappingByPKCS11`},
	{`transit: no redirect is followed`, `kms/wrapping/transit.go`, `error { return http.ErrUseLastResponse },`, `error { return nil },`, `./kms/wrapping`, `TestTransitTrustsNobodyElse`},
	{`transit: what keeps a key away may pass`, `kms/wrapping/transit.go`, `got, err := t.post(ctx, client, t.Mount+"/"+what+"/"+t.Key, token, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAway, err)`, `got, err := t.post(ctx, client, t.Mount+"/"+what+"/"+t.Key, token, body)
	if err != nil {
		return nil, err`, `./kms/wrapping`, `TestTransitAway`},
	{`transit: a token is one word`, `kms/wrapping/transit.go`, `if line == "" || strings`, `if line == "" && strings`, `./kms/wrapping`, `TestTransitAway`},
	{`transit: an answer is bounded`, `kms/wrapping/transit.go`, `io.LimitReader(response.Body, maxMaterial)`, `response.Body`, `./kms/wrapping`, `TestTransitTrustsNobodyElse`},
	{`transit: a key has 32 bytes`, `kms/wrapping/transit.go`, `len(key) != KeySize {`, `false {`, `./kms/wrapping`, `TestTransitTrustsNobodyElse`},
	{`transit: over TLS, or on this host`, `kms/config/transit.go`, `if u.Scheme == "http" && !agent {`, `if false {`, `./kms/config`, `TestWrongWrapping`},
	{`transit: a mount is no other path`, `kms/config/transit.go`, `name != "" && !inPath`, `false && !inPath`, `./kms/config`, `TestWrongWrapping`},
	{`sealed: machines come back`, `kms/daemon/sealedlisten.go`, `w.WriteHeader(http.StatusServiceUnavailable)`, `w.WriteHeader(http.StatusForbidden)`, `./kms/daemon`, `TestSealed$`},
	{`sealed: and know when`, `kms/daemon/sealedlisten.go`, `w.Header().Set("Retry-After", `, `w.Header().Set("X-Retry-After", `, `./kms/daemon`, `TestSealed$`},
	{`sealed: calls of gRPC may be tried again`, `kms/server/rpc/rpc.go`, `status.Error(codes.Unavailable, why)`, `status.Error(codes.PermissionDenied, why)`, `./kms/daemon`, `TestSealed$`},
	{`sealed: strangers are not told why`, `kms/daemon/sealedlisten.go`, `func() string { return "the key server is sealed" }`, `s.said`, `./kms/daemon`, `TestSealed$`},
	{`sealed: the sockets are handed over`, `kms/daemon/sockets.go`, `if len(s[address]) == 0 {`, `if s.close(); true {`, `./kms/daemon`, `TestSealed$`},
	{`sealed: the unit is ready`, `kms/daemon/sealed.go`, `notify("READY=1\nSTATUS=sealed: "`, `notify("STATUS=sealed: "`, `./kms/daemon`, `TestSealedIsReady`},
	{`sealed: a wrong PIN ends it`, `kms/daemon/sealed.go`, `if errors.Is(err, wrapping.ErrRefused) {`, `if false {`, `./kms/daemon`, `TestSealedIsNotForRefusals`},
	{`sealed: a wrong PIN is tried once`, `kms/home/unwrap.go`, `if errors.Is(err, wrapping.ErrAway) || errors.Is(err, wrapping.ErrRefused) {`, `if errors.Is(err, wrapping.ErrAway) {`, `./kms/daemon`, `TestSealedIsNotForRefusals`},
	{`shares: fewer know nothing`, `kms/wrapping/shamir/shamir.go`, `rand.Read(coefficients[i])`, `_ = rand.Reader`, `./kms/wrapping/shamir`, `TestSplit`},
	{`shares: no share is there twice`, `kms/wrapping/shamir/shamir.go`, `if s.X == other.X {`, `if s.X == other.X && i < 0 {`, `./kms/wrapping/shamir`, `TestRefused`},
	{`shares: none is the secret itself`, `kms/wrapping/shamir/shamir.go`, `if s.X == 0 || `, `if `, `./kms/wrapping/shamir`, `TestRefused`},
	{`shares: a mistake is noticed`, `kms/wrapping/share.go`, `if !bytes.Equal(sum[:shareSize-len(body)], raw[len(body):]) {`, `if !bytes.Equal(sum[:0], raw[:0]) {`, `./kms/wrapping`, `TestShareText`},
	{`shares: and one character too many`, `kms/wrapping/share.go`, `len(coded) != alphabet.EncodedLen(shareSize) {`, `len(raw) != shareSize {`, `./kms/wrapping`, `TestShareText`},
	{`shares: a forged one does not count`, `kms/wrapping/gathering.go`, ` || !set.made(s) {`, ` {`, `./kms/wrapping`, `TestWrongShares`},
	{`shares: one counts once`, `kms/wrapping/gathering.go`, `if set.given[s.Number] != nil {`, `if false {`, `./kms/wrapping`, `TestGather$`},
	{`shares: of another set`, `kms/wrapping/gathering.go`, `if set.Set != s.Set.String() {`, `if false {`, `./kms/wrapping`, `TestWrongShares`},
	{`shares: they are forgotten`, `kms/wrapping/gathering.go`, `if time.Since(s.at) >= ShareLife {`, `if false {`, `./kms/wrapping`, `TestSharesAreForgotten`},
	{`shares: wrong ones are limited`, `kms/daemon/unseal.go`, `return g.from[from] < wrongMost`, `return true`, `./kms/daemon`, `TestWrongSharesAreLimited`},
	{`shares: who is counted is bounded`, `kms/daemon/unseal.go`, `known || len(g.from) < wrongSources {`, `known || true {`, `./kms/daemon`, `TestWrongSharesAreLimited`},
	{`shares: the audit log says who`, `kms/server/unsealed.go`, `From: one.Who, `, ``, `./cmd/latchkey-kms`, `TestScripts/shares`},
	{`shares: by age, for one person`, `cmd/latchkey-kms/shares.go`, `h.to[i])`, `h.to[i%1])`, `./cmd/latchkey-kms`, `TestSharesByAge`},
	{`one source floods no log`, `kms/daemon/log.go`, `|| source != "" && w.of[source] == linesPerSource {`, `|| source == "-" {`, `./kms/daemon`, `TestFloodOfOneSource`},
	{`nor an IPv6 network`, `kms/daemon/log.go`, `ip.Unmap().Is6() {`, `ip.Unmap().Is6() && false {`, `./kms/daemon`, `TestFloodOfOneSource`},
}

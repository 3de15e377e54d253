package main

// pins are the rules of PINs of the TPM.
var pins = []mutant{
	{`pin: salted as systemd does`, `unlock/source/cryptenroll/pin.go`, `const pinRounds = 10_000`, `const pinRounds = 10_001`, `./unlock/source/cryptenroll`, `TestAuthValue`},
	{`pin: tokens of systemd 252 have no salt`, `unlock/source/cryptenroll/pin.go`, `if len(t.salt) > 0 {`, `if true {`, `./unlock/source/cryptenroll`, `TestAuthValue`},
	{`pin: few tries`, `unlock/source/cryptenroll/pin.go`, `q.Left == 0 {`, `q.Left < -9 {`, `./boot`, `TestPIN`},
	{`pin: the header is judged first`, `unlock/source/cryptenroll/pin.go`, "	if err := w.volume.Judge(unlock.Expect{}); err != nil {\n		return err\n	}\n", "	_ = unlock.Expect{}\n", `./boot`, `TestPIN`},
	{`pin: the secret is one of the plan`, `unlock/source/cryptenroll/pin.go`, "	if _, err := t.token(w); err != nil {\n		return fail(err)\n	}\n", ``, `./boot`, `TestPIN`},
	{`pin: without a TPM nobody is asked`, `unlock/source/cryptenroll/pin.go`, "	if _, err := t.TPM(ctx); err != nil {\n		return fail(err)\n	}\n", ``, `./boot`, `TestPIN`},
	{`pin: only a wrong one is asked for again`, `unlock/source/cryptenroll/pin.go`, `if codes.Of(err) != tpm.CodePIN {`, `if err == nil || tpm.CodePIN == "" {`, `./boot`, `TestPIN`},
	{`pin: only where the plan allows it`, `boot/worker/cryptenroll.go`, `if w.plan.AsksForPIN() {`, `if true {`, `./boot`, `TestPIN`},
	{`pin: one question at a time`, `boot/worker/sources.go`, `Turn: prompt.NewTurn(), `, ``, `./boot`, `TestPIN`},
	{`pin: in the policy`, `unlock/source/cryptenroll/token.go`, "		steps = append(steps, tpm.PIN{})\n", ``, `./boot`, `TestPIN`},
	{`pin: before the prompt`, `internal/plan/systemd.go`, `prompt >= 0 && (tpm < 0 || tpm > prompt)`, `false && tpm > prompt`, `./internal/plan`, `TestPIN`},
}

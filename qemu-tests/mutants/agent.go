package main

// ofAgent are the rules of latchkey-agent.
var ofAgent = []mutant{
	{`the agent: PCR 11 is closed before the first answer`, `boot/agent/latch.go`, `return extend(ctx, t, 11, pcr.LeaveInitrd)`, `return nil`, `./boot/agent`, `TestFetchesOnceAndLatches`},
	{`the agent: PCR 15 is closed in any case`, `boot/agent/latch.go`, `volumes = []pcr.Digests{pcr.Measure([]byte(capped))}`, ``, `./boot/agent`, `TestNothingAfterTheEnd`},
	{`the agent: nothing is given after the end`, `boot/agent/agent.go`, "		a.keys.wipe()\n		failure = errOver", `		failure = nil`, `./boot/agent`, `TestSettleAfterTheEnd`},
	{`the agent: a late key is none`, `boot/agent/keys.go`, `	if k.over {`, `	if false {`, `./boot/agent`, `TestSettleAfterTheEnd`},
	{`the agent: a kexec is no boot`, `boot/agent/latch.go`, `err := latch.Unused(ctx, a.tpm); err != nil || a.phased`, `err := error(nil); err != nil || a.phased`, `./boot/agent`, `TestMeasuredBefore`},
	{`the agent: systemd's phases are left alone`, `boot/agent/latch.go`, "	if phased {\n		return nil\n	}\n", ``, `./boot/agent`, `TestPhasesOfOthers`},
	{`the agent: a TPM that stays open`, `boot/agent/latch.go`, `proved = proved || plan.UsesTPM(o.source)`, `proved = proved || plan.UsesTPM(o.source) && false`, `./boot/agent`, `TestCannotLatch`},
	{`the agent: the next secret is given`, `boot/worker/rotate.go`, `r.worker.hold(v.disk, keys[0].Passphrase)`, `_ = keys`, `./boot/agent`, `TestRotates`},
	{`the agent: a key is given once`, `boot/agent/keys.go`, `		one.held = false
		one.passphrase`, `		one.passphrase`, `./boot/agent`, `TestFetchesOnceAndLatches`},
	{`the agent: one that hangs is killed`, `boot/agent/end.go`, `unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0)`, `unix.PidfdSendSignal(fd, syscall.Signal(0), nil, 0)`, `./boot/agent`, `TestEndKills`},
	{`the agent: a question that expired`, `boot/agent/askpassword.go`, `q.until > 0 && time.Duration(now.Nano()) > q.until || `, ``, `./boot/agent`, `TestReadQuestion`},
	{`the agent: who asked is gone`, `boot/agent/askpassword.go`, ` || errors.Is(unix.Kill(q.pid, 0), unix.ESRCH)`, ` || errors.Is(nil, unix.ESRCH)`, `./boot/agent`, `TestReadQuestion`},
	{`the agent: a question is about a device`, `boot/agent/askpassword.go`, `!strings.HasPrefix(path, "/dev/")`, `path == ""`, `./boot/agent`, `TestReadQuestion`},
	{`the agent: a socket is one volume's`, `boot/agent/keysocket.go`, `case named == "" || named == ofSocket:`, `case true:`, `./boot/agent`, `TestSocketOfAnother`},
	{`the agent: heard while askpass asks`, `boot/agent/console.go`, `|| !l.off()`, `|| true`, `./boot/agent`, `TestLoud`},
	{`the agent: tpm2-measure-pcr= is refused`, `internal/hosttab/crypttab.go`, `return ok && !slices`, `return ok && false && !slices`, `./boot/agent`, `TestCheckCrypttab`},
	{`the agent: a device that was not looked for`, `boot/agent/keys.go`, `	if k.failed != nil {
		return fmt`, `	if false {
		return fmt`, `./boot/agent`, `TestDeviceOfNoVolume`},
	{`the agent: a device beside volumes that have none`, `boot/agent/keys.go`, `one.why != nil && one.device == ""`, `one.why != nil && one.device != ""`, `./boot/agent`, `TestWhatNeedsNoTPM`},
	{`the agent: before systemd-cryptsetup in mkinitcpio's image`, `images/hooks/mkinitcpio/install`, `		add_systemd_unit cryptsetup-pre.target
`, ``, `./cmd/latchkey`, `TestScripts/hooks_agent$`},
	{`the agent: a keyscript names the device`, `images/hooks/initramfs-tools/keyscript`, `/dev/*) volume=$CRYPTTAB_SOURCE ;;`, `/dev/*) volume=$CRYPTTAB_NAME ;;`, `./cmd/latchkey`, `TestScripts/hooks_agent$`},
	{`the agent: the key and nothing else is printed`, `cmd/latchkey-agent/command.go`, `stdout.Write(key.Reveal())`, `stdout.Write(append(key.Reveal(), '\n'))`, `./cmd/latchkey-agent`, `TestKeyForZFS`},
	{`who has the agent keeps the distribution's image`, `images/hooks/debian/postinst`, `[ ! -e "${LATCHKEY_ROOT-}/usr/bin/latchkey-agent" ] || exit 0`, ``, `./cmd/latchkey`, `TestScripts/hooks$`},
}

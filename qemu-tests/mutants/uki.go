package main

// ukis are rules of measured boots on the machine's side.
var ukis = []mutant{
	{`only the credentials that the plan names`, `boot/extra.go`, `if !ok || !b.plan.Stub.Allows(name) || slices`, `if !ok || slices`, `./boot`, `TestExtra`},
	{`the image's own credential comes first`, `boot/extra.go`, ` || slices.Contains(used, name) {`, ` || slices.Contains(used, "/") {`, `./boot`, `TestExtra`},
	{`a large file of the stub's stays`, `boot/extra.go`, `if len(data) > maxExtra {`, `if len(data) > 9*maxExtra {`, `./boot`, `TestExtra`},
	{`hints come from the image's command line`, `internal/plan/foreign.go`, `used, verdict := image,`, `used, verdict := cmdline,`, `./internal/plan`, `TestForeign`},
	{`an addon sets no module's parameters`, `boot/wire/image.go`, `return p.Line(cmdline, image), nil`, `return p.Line(cmdline, image[:0]), nil`, `./boot/module`, `TestParamsOfAddons`},
	{`modules' parameters are of the allowed line`, `boot/module/module.go`, `wire.ReadLine(read); err == nil {`, `func() (string, error) { b, err := read(wire.CmdlineAt); return string(b), err }(); err == nil {`, `./boot/module`, `TestParamsOfAddons`},
	{`pacman's hook announces where that is wanted`, `images/hooks/pacman/latchkey`, `if [ -e "${LATCHKEY_ROOT-}/etc/latchkey/announce" ]; then`, `if true; then`, `./cmd/latchkey`, `TestScripts/hooks`},
	{`pacman's hook fails where no image was built`, `images/hooks/pacman/latchkey`, `--all`, `--all || true`, `./cmd/latchkey`, `TestScripts/hooks`},
	{`fwupd's updates are announced`, `images/hooks/fwupd/latchkey-announce.path`, "PathChanged=/sys/firmware/efi/efivars/dbx-", "PathChanged=/sys/firmware/efi/efivars/x-", `./cmd/latchkey`, `TestFwupdUnits`},
	{`PID 1 knows the image's command line`, `boot/image.go`, `string(cmdline), string(image))`, `string(cmdline), string(image[:0]))`, `./boot`, `TestForeignWords`},
	{`a credential's name leads nowhere else`, `internal/plan/foreign.go`, `"/:*"`, `"*"`, `./internal/plan`, `TestAllows`},
	{`each bank has its own digest`, `internal/pcr/digests.go`, `return d.SHA512[:]`, `return append(d.SHA384[:], d.SHA1[:16]...)`, `./internal/pcr`, `TestMeasure`},
	{`PID 1 hears of the banks`, `boot/latch/latch.go`, `Text: strings.Join(banks, " ")`, `Text: strings.Join(banks[:1], " ")`, `./boot/latch`, `TestBanks`},
	{`the log has every bank`, `boot/measured.go`, `range m.banks {`, `range m.banks[:2] {`, `./boot`, `TestMeasureLog`},
	{`the stub's own .sbat is measured`, `initramfs/uki/measure.go`, `data := s.own(name)`, `data := s.own("")`, `./initramfs/uki`, `TestPCR11Newer`},
	{`microcode must be where the kernel looks`, `initramfs/uki/uki.go`, `|| !bytes.Contains(sec.Data, []byte("kernel/x86/microcode/")) `, ``, `./initramfs/uki`, `TestBuildRejectsMicrocode`},
	{`a PIN is in no message`, `cmd/latchkey/image_uki_sign.go`, "`(pin-value=)[^;?&\\s]*`", "`(pin-value=)$`", `./cmd/latchkey`, `TestScripts/image_uki_token`},
	{`an image is warned of that another key signs`, `unlock/source/cryptenroll/describe.go`, `if s.fingerprint != t.signer.fingerprint {`, `if s.fingerprint == "" {`, `./unlock/source/cryptenroll`, `CheckSigner`},
	{`a digest that is another header's is warned of`, `cmd/latchkey/tokenwarnings.go`, `v.Digest != "" && !strings.EqualFold(v.Digest, sum)`, `v.Digest != "" && sum == ""`, `./cmd/latchkey`, `SystemdOfThisMachine`},
	{`PCRs that nobody extends are warned of`, `cmd/latchkey/enroll_tpm.go`, `if value == [32]byte{} ||`, `if`, `./cmd/latchkey`, `TestScripts/enroll_tpm`},
	{`an initramfs begins as one`, `cmd/latchkey/image_uki.go`, `if err := initramfs.Recognize(initrd); err != nil {`, `if err := initramfs.Recognize(initrd); false && err != nil {`, `./cmd/latchkey`, `TestScripts/image_uki`},
	{`a flag is not given twice`, `internal/cli/cli.go`, `	textsOnce(root)`, ``, `./internal/cli`, `TestOnce`},
	{`an empty list of sources is no list`, `initramfs/sources.go`, `said && len(c.Volumes[volume].Sources) == 0`, `said && len(c.Volumes[volume].Sources) < 0`, `./initramfs`, `TestSources`},
}

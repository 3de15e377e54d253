package main

// mended are the rules that an attacker's afternoon asked for.
var mended = []mutant{
	{`0073: told after the parent`, `unlock/tpm/sealed.go`, `defer c.orderly(parent.public.ObjectAttributes, o.attributes(public))`, `defer c.orderly(o.attributes(public))`, `./unlock/tpm`, `TestPowerCutsAfterUnseal`},
	{`0073: told after a PIN`, `unlock/tpm/orderly.go`, `&& o.PIN.Len() == 0`, ``, `./unlock/tpm`, `TestPowerCutsAfterUnseal`},
	{`0073: told after an authorization value`, `unlock/tpm/orderly.go`, `len(public.AuthPolicy.Buffer) > 0 &&`, ``, `./unlock/tpm`, `TestPowerCutsAfterUnseal`},
	{`0073: not told for nothing`, `unlock/tpm/orderly.go`, `if !a.NoDA {`, `if _ = a; true {`, `./unlock/tpm`, `TestPowerCutsAfterUnseal`},
	{`0073: sealed twice`, `unlock/tpm/bind.go`, `if err != nil || parent.public.ObjectAttributes.NoDA {`, `if err != nil || true {`, `./unlock/tpm`, `TestBind$`},
	{`0073: ours is used`, `unlock/source/cryptenroll/token.go`, `t.readParent, t.readOurs,`, `t.readParent,`, `./unlock/source/cryptenroll`, `TestOurOwnCopy`},
	{`0073: ours under an RSA key`, `unlock/source/cryptenroll/token.go`, "t.sealed.Parent.Template = tpm.SRKRSA2048", ``, `./unlock/source/cryptenroll`, `TestOurOwnCopy`},
	{`0073: ours is written`, `unlock/source/cryptenroll/bind.go`, `if len(bound) > 1 {`, `if false {`, `./unlock/source/cryptenroll`, `TestPowerCutsOfEnrolled`},
	{`agent: what needs no TPM is fetched without`, `boot/agent/latch.go`, `if len(p.Volumes) == 0 {`, `if a.refused = len(p.Volumes) < len(a.plan.Volumes); a.refused {`, `./boot/agent`, `TestWhatNeedsNoTPM`},
	{`agent: who asks for the rest is told at once`, `boot/agent/keys.go`, `	case <-k.refusal(asked):`, ``, `./boot/agent`, `TestWhatNeedsNoTPM`},
	{`agent: and as long as it runs`, `boot/agent/agent.go`, `if failure != nil || a.refused {`, `if failure != nil {`, `./boot/agent`, `TestWhatNeedsNoTPM`},
	{`agent: no kexec in the second agent`, `boot/agent/agent.go`, `if code == codes.PCR15Used {`, `if false {`, `./boot/agent`, `TestSecondAgent`},
	{`root directory: absolute links stay below`, `internal/rootdir/rootdir.go`, `if filepath.IsAbs(target) {`, `if false {`, `./internal/rootdir`, `TestPath`},
	{`root directory: what is written is no link's target`, `internal/rootdir/rootdir.go`, `|| len(left) == 0 && !last {`, `{`, `./internal/rootdir`, `TestPath`},
	{`root directory: loops end`, `internal/rootdir/rootdir.go`, `if links++; links > maxLinks {`, `if links++; links > maxLinks && false {`, `./internal/rootdir`, `TestPath`},
	{`root directory: key files of a configuration`, `initramfs/inputs.go`, `return rootdir.Path(c.root, name)`, `return c.root + name`, `./cmd/latchkey`, `TestScripts/foreign_links`},
	{`root directory: images`, `cmd/latchkey/image_update.go`, `return rootdir.Entry(o.root, name)`, `return o.root + name`, `./cmd/latchkey`, `TestScripts/foreign_links`},
	{`root directory: crypttab`, `internal/hosttab/hosttab.go`, `return rootdir.Path(h.Root, filepath.Join(name...))`, `return filepath.Join(append([]string{h.Root}, name...)...)`, `./internal/hosttab`, `TestLinksBelowRoot`},
	{`root directory: modprobe.d`, `initramfs/modprobe.go`, `m.file(rootdir.Follow(root, files[name]))`, `m.file(files[name])`, `./initramfs`, `TestLinksBelowRoot`},
	{`root directory: firmware`, `initramfs/archive.go`, `os.ReadFile(rootdir.Follow(root, f))`, `os.ReadFile(f)`, `./initramfs`, `TestLinksBelowRoot`},
}

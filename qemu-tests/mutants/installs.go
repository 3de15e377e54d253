package main

// installs are rules of what is installed on machines: latchkey check, setup,
// the hooks and the packages.
var installs = []mutant{
	{`check: the decision is asked for only where it gives nothing`, `cmd/latchkey/check_kms.go`, `if !k.latched {`, `if false {`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: an image is of this configuration`, `cmd/latchkey/check_image.go`, `if !samePlan(p.file, wanted) {`, `if false {`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: the init by its content`, `cmd/latchkey/check_image.go`, `!bytes.Equal(is, have)`, `bytes.Equal(is, nil)`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: the drivers of disks and links`, `cmd/latchkey/check_machine.go`, `p.modules.Find(name) < 0 &&`, `false &&`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: what is built in is no module`, `internal/hosttab/drivers.go`, `if _, err := os.Stat(filepath.Join(module, "initstate")); err == nil && !`, `if !`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: links that the plan names`, `cmd/latchkey/check_machine.go`, `case len(missing) > 0:`, `case false:`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: another root`, `cmd/latchkey/check_machine.go`, `case err == nil && now.Source != "" && c.sameDevice(there, now.Source):`, `case err == nil && there != "":`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: a source that may open makes others' failures warnings`, `cmd/latchkey/check_source.go`, `(alone || maybe || v.NoFail)`, `(alone || v.NoFail)`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: nothing but a person`, `cmd/latchkey/check_source.go`, `c.fail("opens", v.Name, "", "nothing but a person opens it")`, ``, `./cmd/latchkey`, `TestScripts/check$`},
	{`image: it is read back`, `cmd/latchkey/image_place.go`, `if !bytes.Equal(have.Sum(nil), sum) {`, `if false {`, `./cmd/latchkey`, `TestReadBack`},
	{`image: one that has not booted pushes no good one out`, `cmd/latchkey/image_place.go`, `if p.unproven() && exists(p.old()) || !ours {`, `if !ours {`, `./cmd/latchkey`, `TestPlace$`},
	{`image: FAT exchanges two files`, `cmd/latchkey/image_place.go`, `return datafile.Replace(tmp, p.old())`, `return nil`, `./cmd/latchkey`, `TestPlace$`},
	{`image: before Linux 6.0 the old one is kept on FAT`, `cmd/latchkey/image_place.go`, `if err := os.Rename(p.path, p.old()); err != nil {`, `if err := os.Remove(p.path); err != nil {`, `./cmd/latchkey`, `TestPlace$`},
	{`image: the one that has not booted makes room`, `cmd/latchkey/image_place.go`, `if !p.unproven() {`, `if true {`, `./cmd/latchkey`, `TestPlaceMakesRoom`},
	{`image: boot menus list the old one last`, `cmd/latchkey/image_place.go`, `"~old.efi"`, `".old.efi"`, `./cmd/latchkey`, `TestOldName`},
	{`image: ours is put back`, `cmd/latchkey/image_place.go`, `os.Rename(kept, p.path)`, `os.Remove(kept)`, `./cmd/latchkey`, `TestScripts/image_place$`},
	{`image: what is held is not swept`, `cmd/latchkey/image_place.go`, `unix.LOCK_EX|unix.LOCK_NB) == nil {`, `unix.LOCK_SH|unix.LOCK_NB) == nil {`, `./cmd/latchkey`, `TestScripts/image_place$`},
	{`image: a full file system makes room`, `cmd/latchkey/image.go`, `if errors.Is(err, unix.ENOSPC) && o.installs {`, `if false {`, `./cmd/latchkey`, `TestScripts/image_place$`},
	{`image: what is as it would be is left`, `cmd/latchkey/image_update.go`, `if o.ifOutdated && !o.outdated(config, version) {`, `if false {`, `./cmd/latchkey`, `TestScripts/image_place$`},
	{`image: kernels with no other way are named`, `cmd/latchkey/image_status.go`, `s.Holds == "latchkey" && len(s.Others) == 0`, `false`, `./cmd/latchkey`, `TestScripts/image_place$`},
	{`image: volumes that no person opens are named`, `cmd/latchkey/image_status.go`, `if !slices.ContainsFunc(slotsOfHeader(v.header), typed) {`, `if slices.ContainsFunc(slotsOfHeader(v.header), typed) {`, `./cmd/latchkey`, `TestScripts/image_place$`},
	{`setup: a passphrase stays`, `cmd/latchkey/setup_undo.go`, `if !slices.ContainsFunc(slotsOfHeader(h), persons) {`, `if h != h {`, `./cmd/latchkey`, `TestScripts/setup$`},
	{`setup: a configuration that was edited is kept`, `cmd/latchkey/setup_undo.go`, `if hex.EncodeToString(sum[:]) == s.Config {`, `if hex.EncodeToString(sum[:]) != "" {`, `./cmd/latchkey`, `TestScripts/setup$`},
	{`setup: nothing without a yes`, `cmd/latchkey/setup_ask.go`, `return line == "yes" || line == "y", nil`, `return true, nil`, `./cmd/latchkey`, `TestScripts/setup$`},
	{`setup: names are those of crypttab`, `cmd/latchkey/setup_machine.go`, `cmp.Or(v.Tabled.Name, o.host.MappingOf(v.uuid), "luks-"+v.uuid)`, `"luks-"+v.uuid`, `./cmd/latchkey`, `TestScripts/setup$`},
	{`setup: options of crypttab`, `internal/hosttab/volume.go`, `optionKinds[o] == same &&`, `optionKinds[o] == done &&`, `./cmd/latchkey`, `TestScripts/setup$`},
	{`setup: the passphrase is not echoed`, `cmd/latchkey/setup_ask.go`, `	if o.terminal {
		tty`, `	if o.terminal && text == "" {
		tty`, `./cmd/latchkey`, `TestSetupAtATerminal`},
	{`a first start makes no keys where there may be some`, `kms/home/create.go`, `return !errors.Is(err, fs.ErrNotExist)`, `return err != nil && !errors.Is(err, fs.ErrNotExist)`, `./cmd/latchkey-kms`, `TestScripts/first_start$`},
	{`a first start asks no shared store`, `kms/home/create.go`, "	if h.Place.Shared() {\n		return true\n	}\n	_, err := os.Lstat", "	_, err := os.Lstat", `./cmd/latchkey-kms`, `TestScripts/first_start$`},
	{`ACME: a pair belongs together`, `images/packages/acme`, `|| die "$key is not the key of $certificate"`, `|| true`, `./cmd/latchkey-kms`, `TestACMEHook`},
	{`ACME: nobody else reads the key`, `images/packages/acme`, `umask 077`, `umask 022`, `./cmd/latchkey-kms`, `TestACMEHook`},
}

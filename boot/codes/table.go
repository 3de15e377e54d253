package codes

import (
	"iter"
	"maps"
	"slices"
)

// A Meaning is what a code stands for: what follows it, and what a person
// at the machine can do.
type Meaning struct {
	Class  Class
	Advice string
}

// Means looks a code up. One that is not in the table is retried: an error
// nobody thought of must not strand a machine.
func Means(code string) Meaning {
	if m, ok := table()[code]; ok {
		return m
	}
	return Meaning{Retry, ""}
}

// All lists the table in the order of the codes.
func All() iter.Seq2[string, Meaning] {
	return func(yield func(string, Meaning) bool) {
		all := table()
		for _, code := range slices.Sorted(maps.Keys(all)) {
			if !yield(code, all[code]) {
				return
			}
		}
	}
}

// table is the one table of codes; docs/codes.md is made of it, and a test
// compares it with what the source can emit.
func table() map[string]Meaning {
	return map[string]Meaning{
		// What the key server decided.
		"pending":         {Operator, "approve this machine: latchkey-kms node approve WORDS"},
		"quarantined":     {Operator, "this machine is quarantined: latchkey-kms node readmit WORDS"},
		"refused":         {Operator, "the key server refuses this machine: latchkey-kms policy explain WORDS tells why"},
		"not-bound":       {Operator, "the volume is not this machine's: latchkey-kms node approve --volume UUID WORDS binds it, or says which machine has it"},
		"push-unlisted":   {Operator, "a person pushed a passphrase and this machine's plan does not take any: list the source push beside kms, and build the image again; until then latchkey-kms node approve WORDS, or type the recovery key"},
		"no-secret":       {Operator, "the key server has no key for the volume that this machine can use: type the recovery key, if the plan lists the source prompt, then latchkey volume enroll; or latchkey-kms volume put UUID"},
		"pending-full":    {Operator, "too many machines await approval: latchkey-kms node list"},
		"too-often":       {Retry, "more often than the policy lets it, or the server of a site that is cut off: later, or, for keys that it stores, latchkey-kms node set WORDS --stores-per-hour N"},
		"pcr-mismatch":    {Operator, "this boot differs from what was approved: if that is right, latchkey-kms node accept WORDS"},
		"tpm-cleared":     {Operator, "the TPM was cleared or replaced: latchkey-kms node accept WORDS"},
		"header-rollback": {Operator, "an old LUKS header was put back: latchkey-kms volume accept-header UUID if you did that"},
		"exists":          {Operator, "the key server has another key for this volume and replaces none: latchkey-kms volume delete --now UUID if it is of no use"},
		"header-differs":  {Final, "this is not the volume that was enrolled: do not trust this disk"},
		PCR15Used:         {Final, "this boot already opened its volumes (kexec): rebooting through the firmware"},

		// The way to it.
		"kms-unreachable": {Retry, "no connection to the key server: is it up, and on this LAN? latchkey discover shows what this machine finds"},
		"kms-busy":        {Retry, "the key server is busy or sealed, or cannot write to its store: its log says which"},
		"kms-wrong-pin":   {Retry, "what answers does not hold a pinned key: if the key server's key changed, build the image again"},
		"kms-bad-answer":  {Retry, "what answers is no key server of latchkey's: check find.urls and the port"},
		"kms-no-grant":    {Retry, "the key server did not take the proof in time: it is asked again"},
		"kms-bad-url":     {Retry, "an address of a key server cannot be used: check find.urls and rd.latchkey.kms"},
		"kms-bad-request": {Final, "the plan asks for what no key server answers: latchkey plan show, then build the image again"},
		"kms-timeout":     {Final, "no key server granted in time: is it up, and on this LAN? latchkey-kms node list"},

		// The TPM.
		TPMMissing:         {Final, "there is no TPM: switch it on in the firmware"},
		"tpm-absent":       {Retry, "the TPM does not answer: switch the machine off and on; if it stays, replace the TPM"},
		"tpm-busy":         {Retry, "the TPM is busy with itself: it is asked again"},
		"tpm-failed":       {Retry, "the TPM answers with an error: switch the machine off and on; if it stays, clear or replace the TPM"},
		"tpm-credential":   {Retry, "the key server's challenge is not for this TPM: it is asked again"},
		"tpm-lockout":      {Operator, "the TPM is in lockout after wrong passwords or power cuts: wait, or its owner resets it (tpm2_dictionarylockout)"},
		"systemd-token":    {Final, "no token of systemd-cryptenroll can be used: latchkey volume inspect DEVICE says what each asks for, and latchkey plan show which the plan allows"},
		"tpm-unsupported":  {Final, "the TPM lacks a P-256 key or the SHA-256 bank: switch the bank on in the firmware, or use another TPM"},
		"tpm-auth":         {Final, "a hierarchy of the TPM has a password: remove it (tpm2_changeauth), or clear the TPM in the firmware"},
		"tpm-pin":          {Operator, "the TPM does not take the PIN: type it again. The TPM counts wrong ones, and takes none for a while after too many"},
		"pin-wrong":        {Final, "the PIN of the TPM was typed wrongly three times: the next boot asks again; the recovery key opens the volume, if the plan lists the source prompt"},
		"tpm-seal-policy":  {Final, "this TPM does not open the sealed key: type the recovery key, if the plan lists the source prompt, then latchkey volume enroll"},
		"tpm-seal-foreign": {Final, "this TPM does not open the sealed key: type the recovery key, if the plan lists the source prompt, then latchkey volume enroll"},
		Latch:              {Final, "the TPM did not take the closing measurement: nothing of the disk is run"},

		// The disks.
		"volume-missing":    {Final, "look at the cable and the disk: latchkey volume inspect DEVICE"},
		"volume-clones":     {Final, "two disks carry one UUID: remove one, or name its serial in the plan"},
		"drivers-late":      {Retry, "the disk may be all right, its driver was not loaded yet: open it in the running system; modules.set: host makes an image with this machine's drivers alone"},
		"volume-late":       {Retry, "a volume came late: all are opened again"},
		"volume-multipath":  {Final, "give the disk an identity of its own (a WWID: VPD page 0x83 of SCSI, the UUID or EUI-64 of NVMe), or unplug all paths but one"},
		"multipath-one":     {Retry, "no other path takes over if this one fails: are dm-multipath and dm-service-time in the image (latchkey image build), and not rd.multipath=0 on the kernel command line?"},
		"bcache-missing":    {Retry, "look at the cache's cable and disk; if it is lost: boot another system, write 1 to /sys/block/DEVICE/bcache/running, and restore what the file system check finds lost"},
		"bcache-failed":     {Retry, "the kernel does not take the device: is the module bcache in the image (latchkey image build)? The kernel's log says more"},
		"volume-locked":     {Final, "this is not the volume that was enrolled: do not trust this disk"},
		"volume-io":         {Retry, "the disk answers with errors: look at the cable and the disk"},
		"header-rejected":   {Final, "the LUKS header breaks a rule: latchkey volume inspect DEVICE says why, and how to mend it"},
		"headers-damaged":   {Final, "both LUKS headers are damaged: restore a header backup: latchkey volume restore-header DEVICE FILE"},
		"wrong-key":         {Operator, "no keyslot takes the granted key: enroll the volume again: latchkey volume enroll"},
		"no-usable-keyslot": {Final, "none of the volume's keyslots can be used: latchkey volume inspect DEVICE says why, and how to mend it"},
		"key-file-missing":  {Final, "the device with the key file is not there, or not the file: plug in the one that the plan names (latchkey plan show)"},
		"key-file-wrong":    {Final, "no keyslot takes the key of the key file: latchkey volume add-key, or plug in the device with the right one"},
		"clevis-no-key":     {Final, "the tang server has lost its key, or is another one: put the key back there, or open the volume by another source and bind it again with clevis"},
		"clevis-silent":     {Final, "no tang server answered in time: is it up, and on this LAN?"},
		"clevis-token":      {Final, "no clevis token of the volume can be used: compare latchkey volume inspect DEVICE with latchkey plan show, which names the keys that the plan allows"},
		"kairos-silent":     {Final, "no server of Kairos' protocol answered in time: is it up, and on this LAN? A name that ends in .local needs mdns: true there"},
		"kairos-waiting":    {Final, "the server has nothing for this machine yet: latchkey-kms kairos list, then latchkey-kms kairos approve TPMHASH, or apply its document"},
		"kairos-refused":    {Final, "the server refused for good: latchkey-kms kairos list and its audit log say why"},
		"talos-kms-refused": {Final, "the KMS of Talos gives nothing to this machine: approve its UUID there (latchkey-kms talos approve UUID), or compare node: in latchkey.yaml"},
		"talos-kms-silent":  {Final, "no KMS of Talos answered in time: is it up, and reached from this LAN? latchkey plan show names its URL, and how it is known"},
		"talos-node":        {Final, "the firmware has no UUID that names this machine: write the one that Talos had as node: into latchkey.yaml (volume by volume: talosctl get systeminformation)"},
		"talos-salt":        {Final, "the salt that Talos locked the volume by is not in the volume that lock-to-state names: look at that one's file system"},
		"talos-token":       {Final, "no token of Talos of the volume can be used: compare latchkey volume inspect DEVICE with latchkey plan show, which names what the plan allows"},
		"kairos-wrong":      {Final, "no keyslot takes the passphrase that the server, or the TPM, has: it is another machine's or was replaced; the volume's own is needed"},
		"left-closed":       {Retry, "nofail: the boot goes on without it; open it in the running system"},
		"kdf-memory":        {Final, "the keyslot needs more memory than the machine has: latchkey volume add-key --kdf pbkdf2"},
		"mapping":           {Retry, "the kernel does not map the volume: is dm-crypt in the image, and not in module_blacklist=? latchkey image build"},
		"together-token":    {Final, "no token says how the parts that are there open the volume together: compare latchkey volume inspect DEVICE with latchkey plan show; latchkey volume enroll-together makes one"},
		"together-wrong":    {Operator, "the parts are there and do not open the volume: one was replaced (another stick, another secret in the key server); the recovery key opens it, and latchkey volume enroll-together gives it a new keyslot"},

		"lvm-missing":     {Final, "a part of the LVM group is in no opened volume: name all volumes of the group in latchkey.yaml, latchkey image build; look at cable and disk"},
		"lvm-degraded":    {Retry, "the mirror works without the leg: look at its disk, then lvconvert --repair or lvchange --refresh in the running system"},
		"lvm-late":        {Retry, "a volume came late: all are opened again"},
		"lvm-blank":       {Final, "look at the legs' contents in another system, each by itself and read-only; if the first one is right, lvchange -ay has the kernel make the others like it"},
		"lvm-names":       {Final, "give one of the groups another name (vgs -o vg_name,vg_uuid; vgrename UUID NAME) in a system that starts from neither, or take its disk out"},
		"lvm-unsupported": {Final, "this logical volume needs lvm2 itself: boot with the distribution's initramfs, or move the root to a linear, striped or raid1 one (lvconvert)"},
		"lvm-damaged":     {Final, "LVM's metadata is damaged or contradicts itself: pvck and vgcfgrestore on another machine"},

		"resume-missing": {Retry, "nothing is taken up from there and the boot goes on: name the swap's volume in latchkey.yaml, and in resume: or resume="},
		"resume-failed":  {Retry, "the boot goes on: what the hibernated system had not saved is lost"},

		"md-degraded":    {Retry, "the array works without the member: look at its cable and disk, then mdadm --detail and mdadm --add in the running system"},
		"md-left-out":    {Retry, "the array works without the member: mdadm --detail in the running system, then mdadm --re-add or --add"},
		"md-conflict":    {Retry, "the array is not run: unplug the disk that is to be given up, or choose on another machine with mdadm --examine"},
		"md-damaged":     {Retry, "the device is left alone: mdadm --examine on another machine; if it is no member any more, wipefs removes the old superblock"},
		"md-unsupported": {Retry, "the array is left alone: boot with the distribution's initramfs, which has mdadm; or let the reshape end, remove the journal"},
		"md-failed":      {Retry, "the kernel does not run the array: is its module in the image (latchkey image build)? The kernel's log says more"},
		"md-unwanted":    {Retry, "an array that holds a volume is left out by rd.md=0 or rd.md.uuid=: correct the kernel command line"},

		"btrfs-devices": {Final, "a device of the root's btrfs is in no opened volume: name all its volumes in latchkey.yaml, latchkey image build; look at cable and disk. root.flags: degraded mounts without it"},

		// The boot itself.
		"image-truncated":  {Final, "more memory, or a smaller image: modules.set: host in latchkey.yaml, then latchkey image build"},
		PlanInvalid:        {Final, "build the image again: latchkey image build"},
		RootUnusable:       {Final, "the root does not mount: check root= and the file system on another machine"},
		"root-not-in-plan": {Final, "the root does not mount: check root= and the file system on another machine"},
		"usr-missing":      {Final, "/usr is in none of the opened volumes: name its volume in latchkey.yaml, and in usr.device or mount.usr="},
		"usr-unusable":     {Final, "/usr does not mount: check its file system on another machine, usr: in latchkey.yaml, and that the root has the folder"},
		"overlay-missing":  {Final, "what takes the writes to the root is in none of the opened volumes: name its volume in latchkey.yaml, and in root.overlay"},
		"no-init":          {Final, "the root has no init: check its contents on another machine"},
		"worker-dies":      {Final, "the part that opens the volumes ends again and again: the lines above say why; more memory may help"},
		"child-stuck":      {Final, "a part of the init does not end, because a driver holds it: look at the disk or TPM that the lines above name"},
		Timeout:            {Retry, "a step did not end in time: the lines above say which"},
		Failed:             {Retry, "the lines above say what failed"},
	}
}

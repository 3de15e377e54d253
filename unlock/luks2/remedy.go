package luks2

import "strings"

// Why a header's own words are not followed, for Rejected.Remedy.
const (
	whyCipher = "latchkey opens AES in XTS mode, and what else cryptsetup makes only where the plan says accept: cryptsetup: a forged header must not choose a weak or a null cipher"
	whyKDF    = "latchkey takes what cryptsetup makes of passphrases today (argon2id, argon2i, or pbkdf2 with SHA-256 or SHA-512), within limits that a machine can bear: a forged header must not exhaust it"
)

// How headers are mended, with a backup of the header first. The commands are
// cryptsetup's, on a volume that is closed; N is the number of the keyslot.
const (
	reencrypt  = "cryptsetup reencrypt --cipher aes-xts-plain64 --key-size 512 --sector-size 4096 DEVICE"
	convertKey = "cryptsetup luksConvertKey --key-slot N --pbkdf argon2id --hash sha256 --keyslot-cipher aes-xts-plain64 --keyslot-key-size 512 DEVICE"
	resume     = "cryptsetup reencrypt --resume-only DEVICE"
)

// Remedy says why the rule is there and which command mends the header, on
// one line; empty: what breaks the rule is damage or forgery, and a backup of
// the header is all that helps.
func (r *Rejected) Remedy() string {
	switch r.code {
	case "segment-cipher", "segment-iv", "segment-sector":
		return whyCipher + "; " + reencrypt + ", then for each keyslot " + convertKey
	case "keyslot-key-size":
		return whyCipher + ", with 256 or 512 bits of key; " + reencrypt
	case "digest-hash", "digest-iterations", "digest-type":
		return whyKDF + "; cryptsetup reencrypt --hash sha256 DEVICE, then for each keyslot " + convertKey
	case "keyslot-cipher", "keyslot-af":
		return whyCipher + "; " + convertKey
	case "kdf-memory", "kdf-time":
		return whyKDF + "; cryptsetup luksConvertKey --key-slot N --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-parallel 4 DEVICE"
	case "segment-type", "segment-flags", "segment-count", "requirements":
		return "a volume that is being encrypted anew has two ciphers or keys; end it: " + resume
	case "segment-integrity", "segment-opal":
		return "only dm-crypt on a plain disk is mapped in the initramfs; leave such a volume to the real root, or move its data to one made by latchkey volume format"
	case "segment-detached":
		return "the plan says where the payload of such a header is: header: {path: FILE} and data: PARTUUID=… for the volume in latchkey.yaml"
	case "keyslot-type":
		return "the keyslot belongs to a reencryption that has not ended, and opens nothing; end it: " + resume
	case "keyslot-unbound":
		return "it holds a key of its own, and none of the volume's; latchkey volume add-key DEVICE adds one that does"
	case "luks1":
		return "only what the plan names is opened as LUKS1; luks1: true for the volume in latchkey.yaml, or cryptsetup convert --type luks2 DEVICE"
	case "not-luks":
		return "lsblk -f shows what is on the device, and which one is crypto_LUKS"
	}
	if strings.HasPrefix(r.code, "kdf-") {
		return whyKDF + "; " + convertKey
	}
	return ""
}

package luks2_test

// A made volume is one that cryptsetup made: luksFormat with the arguments,
// then further commands, in which DISK stands for the image, KEY for the
// file of the passphrase and OTHER for another one. verdict is what a user of
// it expects:
//
//	opens            the passphrase opens it
//	shut             nothing opens it, and it is accepted
//	refused CODE     the header breaks a rule for the whole
//
// and skips are the keyslots that are skipped, with the rule. Ciphers that
// cryptsetup asks the kernel for are in rows_test.go.
type made struct {
	name    string
	format  []string
	then    [][]string
	verdict string
	skips   map[int]string
}

type args = []string

var (
	fast      = args{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}
	fastArgon = args{"--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "64", "--pbkdf-parallel", "1"}
)

func with(base args, more ...string) args { return append(append(args{}, base...), more...) }

// addKey is a second keyslot with the key OTHER.
func addKey(more ...string) args {
	return append(args{"luksAddKey", "-q", "--key-file", "KEY", "DISK", "OTHER"}, more...)
}

func formatRows() []made {
	return []made{
		{"pbkdf2", fast, nil, "opens", nil},
		{"argon2id", fastArgon, nil, "opens", nil},
		{"argon2i", with(fastArgon, "--pbkdf", "argon2i"), nil, "opens", nil},
		{"argon2id on four lanes", with(fastArgon, "--pbkdf-parallel", "4"), nil, "opens", nil},
		{"argon2id with many passes, from a fast machine", with(fastArgon, "--pbkdf-force-iterations", "4000"), nil, "opens", nil},
		{"argon2id with the least memory", with(fastArgon, "--pbkdf-memory", "32"), nil, "opens", nil},
		{"sha512, as guides have it", with(fast, "--hash", "sha512"), nil, "opens", nil},
		{"sha512 with argon2id, as archinstall has it", with(fastArgon, "--hash", "sha512", "--key-size", "512"), nil, "opens", nil},
		{"sha1", with(fast, "--hash", "sha1"), nil, "refused digest-hash", nil},
		{"sha384", with(fast, "--hash", "sha384"), nil, "refused digest-hash", nil},
		{"blake2b-512", with(fast, "--hash", "blake2b-512"), nil, "refused digest-hash", nil},
		{"sha3-256", with(fast, "--hash", "sha3-256"), nil, "refused digest-hash", nil},
		{"aes-256", with(fast, "--key-size", "512"), nil, "opens", nil},
		{"aes-128", with(fast, "--key-size", "256"), nil, "opens", nil},
		{"aes-128 and argon2id", with(fastArgon, "--key-size", "256"), nil, "opens", nil},
		{"cbc-essiv, of 2012", with(fast, "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"), nil, "refused segment-cipher", nil},
		{"cbc-plain64", with(fast, "--cipher", "aes-cbc-plain64", "--key-size", "256"), nil, "refused segment-cipher", nil},
		{"xts-plain", with(fast, "--cipher", "aes-xts-plain"), nil, "refused segment-cipher", nil},
		{"sectors of 512", with(fast, "--sector-size", "512"), nil, "opens", nil},
		{"sectors of 1024", with(fast, "--sector-size", "1024"), nil, "opens", nil},
		{"sectors of 2048", with(fast, "--sector-size", "2048"), nil, "opens", nil},
		{"sectors of 4096", with(fast, "--sector-size", "4096"), nil, "opens", nil},
		{"metadata of 32 KiB", with(fast, "--luks2-metadata-size", "32k"), nil, "opens", nil},
		{"metadata of 256 KiB", with(fast, "--luks2-metadata-size", "256k"), nil, "opens", nil},
		{"metadata of 1 MiB", with(fast, "--luks2-metadata-size", "1m"), nil, "opens", nil},
		{"metadata of 4 MiB", with(fast, "--luks2-metadata-size", "4m"), nil, "opens", nil},
		{"room for one keyslot", with(fast, "--luks2-keyslots-size", "256k"), nil, "opens", nil},
		{"room for two small keyslots", with(fast, "--luks2-keyslots-size", "512k", "--luks2-metadata-size", "16k"), nil, "opens", nil},
		{"payload at 17 MiB", with(fast, "--offset", "34816"), nil, "opens", nil},
		{"payload aligned to 8 MiB", with(fast, "--align-payload", "16384"), nil, "opens", nil},
		{"label and subsystem", with(fast, "--label", "root disk", "--subsystem", "a b"), nil, "opens", nil},
		{"Kairos' label and UUID", with(fast, "--label", "COS_PERSISTENT", "--uuid", "3c0d0e3e-7f7d-5a5f-8d5e-2d0c1b7f6a11"), nil, "opens", nil},
		{"first keyslot 7", with(fast, "--key-slot", "7"), nil, "opens", nil},
		{"first keyslot 31", with(fast, "--key-slot", "31"), nil, "opens", nil},
		{"keyslots by aes-128", with(fast, "--keyslot-cipher", "aes-xts-plain64", "--keyslot-key-size", "256"), nil, "opens", nil},
		{"keyslots by cbc-essiv", with(fast, "--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "256"), nil, "shut", map[int]string{0: "keyslot-cipher"}},
		{"a header of its own", with(fast, "--offset", "0", "--header", "DISK"), nil, "refused segment-detached", nil},
	}
}

func keyslotsMade() []made {
	return []made{
		{"a second keyslot", fast, [][]string{addKey(fast...)}, "opens", nil},
		{"a second keyslot by argon2id", fast, [][]string{addKey(fastArgon...)}, "opens", nil},
		{"a second keyslot by sha512", fast, [][]string{addKey(with(fast, "--hash", "sha512")...)}, "opens", nil},
		{"a second keyslot by sha1", fast, [][]string{addKey(with(fast, "--hash", "sha1")...)}, "opens", map[int]string{1: "keyslot-af"}},
		{"a second keyslot by sha384", fast, [][]string{addKey(with(fast, "--hash", "sha384")...)}, "opens", map[int]string{1: "keyslot-af"}},
		{"a second keyslot with many passes", fast, [][]string{addKey(with(fastArgon, "--pbkdf-force-iterations", "4000")...)}, "opens", nil},
		{"a second keyslot by cbc-essiv", fast, [][]string{addKey(with(fast, "--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "256")...)}, "opens", map[int]string{1: "keyslot-cipher"}},
		{"a second keyslot by aes-128", fast, [][]string{addKey(with(fast, "--keyslot-cipher", "aes-xts-plain64", "--keyslot-key-size", "256")...)}, "opens", nil},
		{"an unbound keyslot", fast, [][]string{addKey(with(fast, "--unbound", "--key-size", "256", "--key-slot", "1")...)}, "opens", map[int]string{1: "keyslot-unbound"}},
		{"an unbound keyslot of 512 bits", fast, [][]string{addKey(with(fast, "--unbound", "--key-size", "512", "--key-slot", "9")...)}, "opens", map[int]string{9: "keyslot-unbound"}},
		{"two unbound keyslots", fast, [][]string{
			addKey(with(fast, "--unbound", "--key-size", "256", "--key-slot", "1")...), addKey(with(fast, "--unbound", "--key-size", "128", "--key-slot", "2")...),
		}, "opens", map[int]string{1: "keyslot-unbound", 2: "keyslot-key-size"}},
		{"unbound, odd and good keyslots", fast, [][]string{
			addKey(with(fast, "--unbound", "--key-size", "256", "--key-slot", "1")...), addKey(with(fast, "--hash", "sha1")...), addKey(fast...),
		}, "opens", map[int]string{1: "keyslot-unbound", 2: "keyslot-af"}},
		{"a keyslot that was killed", fast, [][]string{addKey(fast...), {"luksKillSlot", "-q", "DISK", "1"}}, "opens", nil},
		{"the first keyslot was killed", fast, [][]string{addKey(fast...), addKey(fast...), {"luksKillSlot", "-q", "DISK", "1"}}, "opens", nil},
		{"a changed key", fast, [][]string{
			addKey(fast...), {"luksChangeKey", "-q", "--key-file", "OTHER", "DISK", "OTHER", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"},
		}, "opens", nil},
		{"priority prefer", fast, [][]string{{"config", "--key-slot", "0", "--priority", "prefer", "DISK"}}, "opens", nil},
		{"priority ignore", fast, [][]string{addKey(fast...), {"config", "--key-slot", "0", "--priority", "ignore", "DISK"}}, "opens by number", nil},
		{"a new label", fast, [][]string{{"config", "--label", "data", "--subsystem", "x", "DISK"}}, "opens", nil},
		{"a new UUID", fast, [][]string{{"luksUUID", "-q", "--uuid", "5a0f5bd1-0f3f-4a77-9d3a-9c3b3a3e1c11", "DISK"}}, "opens", nil},
		{"erased", fast, [][]string{{"luksErase", "-q", "DISK"}}, "shut", nil},
		{"a kernel keyring token", fast, [][]string{{"token", "add", "--key-description", "x", "--key-slot", "0", "DISK"}}, "opens", nil},
		{"a token that was removed", fast, [][]string{{"token", "add", "--key-description", "x", "DISK"}, {"token", "remove", "--token-id", "0", "DISK"}}, "opens", nil},
		{"reencrypted", fast, [][]string{{"reencrypt", "-q", "--force-offline-reencrypt", "--key-file", "KEY", "DISK", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}}, "opens", nil},
		{"a reencryption that has only begun", fast, [][]string{{"reencrypt", "-q", "--init-only", "--force-offline-reencrypt", "--key-file", "KEY", "DISK", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}}, "refused requirements", nil},
		{"converted to LUKS1 and back", with(fast, "--sector-size", "512"), [][]string{{"convert", "-q", "--type", "luks1", "DISK"}, {"convert", "-q", "--type", "luks2", "DISK"}}, "opens", nil},
		{"converted to LUKS1", with(fast, "--sector-size", "512"), [][]string{{"convert", "-q", "--type", "luks1", "DISK"}}, "opens", nil},
	}
}

// tokensMade are the tokens of others, as they import them.
var tokensMade = []struct{ name, token string }{
	{"clevis", `{"type":"clevis","keyslots":["0"],"jwe":{"ciphertext":"x","encrypted_key":"","iv":"x","protected":"x","tag":"x"}}`},
	{"systemd-tpm2", `{"type":"systemd-tpm2","keyslots":["0"],"tpm2-blob":"AA==","tpm2-pcrs":[7,11],"tpm2-pcr-bank":"sha256","tpm2-primary-alg":"ecc","tpm2-policy-hash":"00","tpm2-pin":false,"tpm2_pcrlock":false,"tpm2_pubkey_pcrs":[11],"tpm2_pubkey":"AA==","tpm2_srk":"AA=="}`},
	{"systemd-fido2", `{"type":"systemd-fido2","keyslots":["0"],"fido2-credential":"AA==","fido2-salt":"AA==","fido2-rp":"io.systemd.cryptsetup","fido2-clientPin-required":true,"fido2-up-required":true,"fido2-uv-required":false}`},
	{"systemd-pkcs11", `{"type":"systemd-pkcs11","keyslots":["0"],"pkcs11-uri":"pkcs11:x","pkcs11-key":"AA=="}`},
	{"systemd-recovery", `{"type":"systemd-recovery","keyslots":["0"]}`},
	{"Talos' sideroKMS", `{"type":"sideroKMS","keyslots":[],"userData":{"sealedData":"AA=="}}`},
	{"of nobody, of no keyslot", `{"type":"x-y","keyslots":[],"nested":{"a":{"b":{"c":{"d":[1,2.5,null,true]}}}}}`},
}

// luks1Made are volumes of version 1.
func luks1Made() []made {
	f := args{"--type", "luks1", "--pbkdf-force-iterations", "1000"}
	convert := [][]string{{"convert", "-q", "--type", "luks2", "DISK"}}
	return []made{
		{"LUKS1", f, nil, "opens", nil},
		{"LUKS1, sha512", with(f, "--hash", "sha512"), nil, "opens", nil},
		{"LUKS1, aes-128", with(f, "--key-size", "256"), nil, "opens", nil},
		{"LUKS1, sha1, as before 2015", with(f, "--hash", "sha1"), nil, "refused digest-hash", nil},
		{"LUKS1, cbc-essiv, as before 2013", with(f, "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"), nil, "refused segment-cipher", nil},
		{"LUKS1, keyslot 7", with(f, "--key-slot", "7"), nil, "opens", nil},
		{"LUKS1, aligned to 8 MiB", with(f, "--align-payload", "16384"), nil, "opens", nil},
		{"LUKS1, two keyslots, one killed", f, [][]string{
			{"luksAddKey", "-q", "--key-file", "KEY", "--pbkdf-force-iterations", "1000", "DISK", "OTHER"}, {"luksKillSlot", "-q", "DISK", "1"},
		}, "opens", nil},
		{"converted from LUKS1", f, convert, "opens", nil},
		{"converted from LUKS1, sha512", with(f, "--hash", "sha512"), convert, "opens", nil},
		{"converted from LUKS1, aes-128", with(f, "--key-size", "256"), convert, "opens", nil},
		{"converted from LUKS1, sha1", with(f, "--hash", "sha1"), convert, "refused digest-hash", nil},
		{"converted from LUKS1, then a keyslot by argon2id", f, append(convert, addKey(fastArgon...)), "opens", nil},
	}
}

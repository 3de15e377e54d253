package initramfs

import (
	"maps"
	"slices"

	"latchkey/internal/plan"
)

// cipherModules are what dm-crypt asks the kernel for beside the modules of
// every boot, by cipher: names and aliases. In an initramfs nobody answers
// its request_module.
var cipherModules = map[string][]string{
	"aes-cbc-essiv:sha256":           {"crypto-cbc", "crypto-cbc(aes)", "crypto-essiv", "crypto-sha256"},
	"serpent-xts-plain64":            {"crypto-serpent"},
	"twofish-xts-plain64":            {"crypto-twofish"},
	"xchacha12,aes-adiantum-plain64": {"crypto-adiantum", "crypto-nhpoly1305", "crypto-xchacha12", "crypto-chacha20"},
	"xchacha20,aes-adiantum-plain64": {"crypto-adiantum", "crypto-nhpoly1305", "crypto-xchacha20", "crypto-chacha20"},
}

// cipherWords are the modules of the ciphers that a plan accepts.
func (o Options) cipherWords(p *plan.Plan) (words []string) {
	for _, v := range p.Volumes {
		if v.Accept != plan.AcceptCryptsetup {
			continue
		}
		var names []string
		if o.Ciphers != nil {
			names = o.Ciphers(v.UUID)
		}
		if len(names) == 0 {
			names = slices.Sorted(maps.Keys(cipherModules))
		}
		for _, name := range names {
			words = append(words, cipherModules[name]...)
		}
	}
	return words
}

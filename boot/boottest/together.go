package boottest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/together"
)

// AddTogether gives the disk a keyslot that these parts open together, by
// kind. The TPM of these tests has its part in clear.
func (d *Disk) AddTogether(parts map[string]string) (slot int) {
	h, err := luks2.Read(d, volumeBytes)
	if err != nil {
		panic(err)
	}
	t := together.Token{Salt: bytes.Repeat([]byte{7}, 32)}
	all := map[string]secret.Bytes{}
	for kind, part := range parts {
		t.Members = append(t.Members, kind)
		all[kind] = secret.Own([]byte(part))
		if kind == together.TPM {
			t.Sealed = sealedToken(part)
			all[kind] = secret.Own([]byte(base64.StdEncoding.EncodeToString([]byte(part))))
		}
	}
	slices.Sort(t.Members)
	key, err := t.Passphrase(h.UUID(), all)
	if err != nil {
		panic(err)
	}
	volume, _, err := h.Unlock(background, d, luks2.Attempt{Passphrase: secret.Own([]byte(Key)), Slot: 0})
	if err != nil {
		panic(err)
	}
	_, slot, err = h.AddKey(d, volume, luks2.NewKey{Passphrase: key, Slot: luks2.AnySlot, Random: true, Token: func(slot int) json.RawMessage {
		t.Slot = slot
		return t.JSON()
	}})
	if err != nil {
		panic(err)
	}
	return slot
}

// sealedToken is a secret of the TPM, for PCR 7, as systemd's tokens have it.
func sealedToken(private string) json.RawMessage {
	var blob []byte
	for _, part := range []string{private, "public"} {
		blob = append(binary.BigEndian.AppendUint16(blob, uint16(len(part))), part...)
	}
	return fmt.Appendf(nil, `{"tpm2-blob":%q,"tpm2-pcrs":[7],"tpm2-pcr-bank":"sha256","tpm2-primary-alg":"ecc","tpm2-pin":false}`, base64.StdEncoding.EncodeToString(blob))
}

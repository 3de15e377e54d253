package kms_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"latchkey/kms"
)

// A key for which a signature verifies that nobody made is no KMS' key.
// That one does is shown for each: R is the point without order, S is zero.
func TestPinOfSmallOrder(t *testing.T) {
	forged := append([]byte{1}, make([]byte, 63)...)
	for name, key := range map[string]string{
		"zero":                  strings.Repeat("00", 32),
		"one":                   "01" + strings.Repeat("00", 31),
		"one, negative":         "01" + strings.Repeat("00", 30) + "80",
		"p-1":                   "ec" + strings.Repeat("ff", 30) + "7f",
		"p":                     "ed" + strings.Repeat("ff", 30) + "7f",
		"p, negative":           "ed" + strings.Repeat("ff", 31),
		"p+1":                   "ee" + strings.Repeat("ff", 30) + "7f",
		"order eight":           "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"order eight, negative": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"the other one":         "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	} {
		b, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kms.ParsePin("lk1:" + base64.StdEncoding.EncodeToString(b)); err == nil || !strings.Contains(err.Error(), "anyone can sign") {
			t.Errorf("ParsePin of %s = %v, want a refusal", name, err)
		}

		verifies := false
		for n := uint32(0); n < 200 && !verifies; n++ {
			verifies = ed25519.Verify(b, binary.BigEndian.AppendUint32(nil, n), forged)
		}
		if !verifies {
			t.Errorf("%s: none of 200 messages verifies with a forged signature: the row shows nothing", name)
		}
	}

	good := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)).Public().(ed25519.PublicKey)
	if _, err := kms.ParsePin("lk1:" + base64.StdEncoding.EncodeToString(good)); err != nil {
		t.Errorf("ParsePin of a real key = %v", err)
	}
}

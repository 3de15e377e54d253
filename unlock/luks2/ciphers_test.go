package luks2_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors are those of serpent_tv_template in the kernel's
// crypto/testmgr.h, which libgcrypt gives as well.
func TestSerpent(t *testing.T) {
	plain := unhex(t, "000102030405060708090a0b0c0d0e0f")
	key := unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	for _, tt := range []struct {
		key  []byte
		want string
	}{
		{nil, "1207fcce9bd0d6476ae98fbed143a0e2"},
		{key[:16], "4c7d8a328072a22c823e4a1f3acda16d"},
		{key, "de269ff833e432b85b2e88d2701ce75c"},
	} {
		s, got := luks2.Serpent(tt.key), make([]byte, 16)
		s.Encrypt(got, plain)
		if hex.EncodeToString(got) != tt.want {
			t.Errorf("with a key of %d bytes: %x, want %s", len(tt.key), got, tt.want)
		}
		s.Decrypt(got, got)
		if !bytes.Equal(got, plain) {
			t.Errorf("with a key of %d bytes: back is %x", len(tt.key), got)
		}
	}
}

// The vectors are those of adiantum_xchacha12_aes_tv_template and
// adiantum_xchacha20_aes_tv_template in the kernel's crypto/testmgr.h.
func TestAdiantum(t *testing.T) {
	for _, tt := range []struct {
		rounds                  int
		key, tweak, plain, want string
	}{
		{
			12, "362b5797f85dcd995f1a5a441d920f27cc16d72b856399d3ba96a1dbd26068da", "ef5869b12c5e9a4724c1b169e112938f433d6d00db5ed8d9129afed9ff2daac4",
			"5ea8681985981223260accdb0a04b9df4db3487bb0e3c819435a4606942df2",
			"c7c6f1738fc4ff4a39be78be8d28c8894663e70c7d87e84ec9187bbe186050",
		},
		{
			12, "a52824341a3cd8f705918fee851f357f803dfc9b94f6fc9e190900a904314f11", "a1ba4995ff346db8cd875d5efdea85db8a7b5eb25d57dd62aca98c41429475b7",
			"69b4e88c37e86782f1ec5d04e5149113dff2871b69811d71709e9c3bde497011a0a3db0d544f6669d7db80a7709268ce81042cc6abaee56015e96fefaa8fa7a7638ff2f077f1a8eae1b71f9eab9e4b3f07875b6fcda8afb9fa700b52b8a8a79e075fa60eb39b791379c33e8d1c2c68c8511d3c7b7d79772a5665c5542328b003",
			"9e16abed4ba7425ac6fb4e76ffbe03a00fe3adbae4982b0e2148a0b865482748845454b29a947be64b29e9cf0591801a3af34196851d9f74515663fa7c288549f72ff9f21846f53380a33cceb25793f5aebda9f57b30c49366e0307716e4a031ba70bc6813f5b09ac1fc7efe55805c4874a6aaa3acdcc2f58dde34867860758d",
		},
		{
			20, "362b5797f85dcd995f1a5a441d920f27cc16d72b856399d3ba96a1dbd26068da", "ef5869b12c5e9a4724c1b169e112938f433d6d00db5ed8d9129afed9ff2daac4",
			"5ea8681985981223260accdb0a04b9df4db3487bb0e3c819435a4606942df2",
			"4bb89010df7f64080e14425f007409365772b5fdb55db8280c04911491e937",
		},
		{
			20, "a52824341a3cd8f705918fee851f357f803dfc9b94f6fc9e190900a904314f11", "a1ba4995ff346db8cd875d5efdea85db8a7b5eb25d57dd62aca98c41429475b7",
			"69b4e88c37e86782f1ec5d04e5149113dff2871b69811d71709e9c3bde497011a0a3db0d544f6669d7db80a7709268ce81042cc6abaee56015e96fefaa8fa7a7638ff2f077f1a8eae1b71f9eab9e4b3f07875b6fcda8afb9fa700b52b8a8a79e075fa60eb39b791379c33e8d1c2c68c8511d3c7b7d79772a5665c5542328b003",
			"b18ba00577a84d591b8e21fc3a49fad4eb36f3c4dfdcae67073f700ee966f50c304d66c9a42f739c13c84944cc0a909d7cdd193fea728d58abe7092cecb544d2caa62d7a5c9c2b15ec2aa66991f9f313f772c1c140d5e194f429a13e2502a83e94c19114a114cbbe674cb938fea7aa3229620db2f63c5857c1d55abbd6a62ae5",
		},
	} {
		plain := unhex(t, tt.plain)
		got := bytes.Clone(plain)
		luks2.Adiantum(unhex(t, tt.key), got, [32]byte(unhex(t, tt.tweak)), tt.rounds, true)
		if hex.EncodeToString(got) != tt.want {
			t.Errorf("%d rounds, %d bytes: %x, want %s", tt.rounds, len(got), got, tt.want)
		}
		luks2.Adiantum(unhex(t, tt.key), got, [32]byte(unhex(t, tt.tweak)), tt.rounds, false)
		if !bytes.Equal(got, plain) {
			t.Errorf("%d rounds, %d bytes: back is %x", tt.rounds, len(got), got)
		}
	}
}

// keySizes are the sizes of key that each cipher is opened with.
var keySizes = map[string][]int{
	"aes-xts-plain64":                {32, 64},
	"aes-cbc-essiv:sha256":           {16, 24, 32},
	"serpent-xts-plain64":            {32, 64},
	"twofish-xts-plain64":            {32, 64},
	"xchacha12,aes-adiantum-plain64": {32},
	"xchacha20,aes-adiantum-plain64": {32},
}

// Sectors count in units of 512 bytes, whatever their size: a sector is the
// same alone and among others, and not the same as the one before it.
func TestSectors(t *testing.T) {
	if got := luks2.Cryptsetup.Ciphers(); len(got) != len(keySizes) {
		t.Fatalf("Ciphers = %q, want %d", got, len(keySizes))
	}
	for name, sizes := range keySizes {
		for _, size := range sizes {
			for _, sector := range []int{512, 4096} {
				key, plain := secret.Random(size).Reveal(), bytes.Repeat([]byte("sixteen bytes at"), 3*sector/16)
				whole := bytes.Clone(plain)
				luks2.Sectors(name, key, whole, sector, 1<<40, true)
				for i := range 3 {
					one := bytes.Clone(plain[:sector])
					luks2.Sectors(name, key, one, sector, 1<<40+uint64(i*sector/512), true)
					if !bytes.Equal(one, whole[i*sector:(i+1)*sector]) {
						t.Errorf("%s: sector %d of %d bytes is another one alone", name, i, sector)
					}
				}
				if bytes.Equal(whole[:sector], whole[sector:2*sector]) || bytes.Contains(whole, plain[:16]) {
					t.Errorf("%s: equal sectors, or plain text", name)
				}
				luks2.Sectors(name, key, whole, sector, 1<<40, false)
				if !bytes.Equal(whole, plain) {
					t.Errorf("%s with a key of %d bytes: decrypting does not give the plain text", name, size)
				}
			}
		}
	}
}

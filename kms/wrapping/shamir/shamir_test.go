package shamir_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/wrapping/shamir"
)

// fromVault are five shares, three of which are needed, that HashiCorp's
// package shamir of Vault 1.14.1 made of the bytes 3, 10, 17, ….
var fromVault = []struct {
	x byte
	y string
}{
	{107, "ab71c134919986d3a95a214f4a7f91df12bcc97704e960798bea2cb316fd2f10"},
	{95, "ba497871c1338a8e878ec44e0f4a1c8abae0a846eb7ffa5e270cc293afe6685c"},
	{94, "98a48c439bc4c23a63634957dec9b37e7220db1b8c7ff32539230040e732f2a6"},
	{36, "7a4ce99091031f9dea6869e261c9bdf89b18dad86fa9636aa80dcf951b15abfd"},
	{47, "366a888cc329c431353952aa62d1a0eea72a021caadf22e244aea0e798b5f047"},
}

// Any three, four or five shares of another's making give the secret.
func TestCombineVaults(t *testing.T) {
	want := make([]byte, 32)
	for i := range want {
		want[i] = byte(i*7 + 3)
	}
	for chosen := range 1 << len(fromVault) {
		var some []shamir.Share
		for i, s := range fromVault {
			if chosen&(1<<i) != 0 {
				y, err := hex.DecodeString(s.y)
				if err != nil {
					t.Fatal(err)
				}
				some = append(some, shamir.Share{X: s.x, Y: secret.Own(y)})
			}
		}
		if len(some) < 2 {
			continue
		}
		got, err := shamir.Combine(some)
		if err != nil || bytes.Equal(got.Reveal(), want) != (len(some) >= 3) {
			t.Errorf("Combine of %05b = %x, %v, want %x of three and more only", chosen, got.Reveal(), err, want)
		}
	}
}

// tables are powers of 3 in GF(256) and their logarithms: another way to
// multiply than the one that is tested.
func tables() (power [255]byte, log [256]int) {
	for i, v := 0, 1; i < 255; i++ {
		power[i], log[v] = byte(v), i
		if v = v ^ v<<1; v > 255 {
			v ^= 0x11b
		}
	}
	return power, log
}

// solve finds the value at 0 of the polynomial of degree k-1 through points,
// by Gaussian elimination.
func solve(x, y []byte) byte {
	power, log := tables()
	times := func(a, b byte) byte {
		if a == 0 || b == 0 {
			return 0
		}
		return power[(log[a]+log[b])%255]
	}
	k := len(x)
	rows := make([][]byte, k)
	for i := range rows {
		rows[i] = make([]byte, k+1)
		for j, v := 0, byte(1); j < k; j, v = j+1, times(v, x[i]) {
			rows[i][j] = v
		}
		rows[i][k] = y[i]
	}
	for c := range k {
		for r := c; r < k; r++ {
			if rows[r][c] != 0 {
				rows[c], rows[r] = rows[r], rows[c]
				break
			}
		}
		inverse := power[(255-log[rows[c][c]])%255]
		for j := range rows[c] {
			rows[c][j] = times(rows[c][j], inverse)
		}
		for r := range k {
			if factor := rows[r][c]; r != c && factor != 0 {
				for j := range rows[r] {
					rows[r][j] ^= times(factor, rows[c][j])
				}
			}
		}
	}
	return rows[0][k]
}

// What is split is combined again, by our code and by linear algebra.
func TestSplit(t *testing.T) {
	for _, of := range []struct{ k, n int }{{2, 2}, {2, 3}, {3, 5}, {5, 5}, {4, 9}, {9, 20}, {2, 255}, {255, 255}} {
		t.Run(fmt.Sprintf("%d of %d", of.k, of.n), func(t *testing.T) {
			want := secret.Random(32)
			want.Reveal()[0] = 0
			shares, err := shamir.Split(want, of.k, of.n)
			if err != nil || len(shares) != of.n {
				t.Fatalf("Split = %d shares, %v", len(shares), err)
			}
			last := shares[of.n-of.k:]
			got, err := shamir.Combine(last)
			if err != nil || !got.Equal(want) {
				t.Errorf("Combine = %x, %v, want %x", got.Reveal(), err, want.Reveal())
			}
			for at := range 3 {
				var x, y []byte
				for _, s := range last {
					x, y = append(x, s.X), append(y, s.Y.Reveal()[at])
				}
				if got := solve(x, y); got != want.Reveal()[at] {
					t.Errorf("byte %d by linear algebra is %d, want %d", at, got, want.Reveal()[at])
				}
			}
			if fewer, err := shamir.Combine(last[1:]); err == nil && fewer.Equal(want) {
				t.Error("one share fewer gives the secret, too")
			}
		})
	}
}

// One share fewer than are needed fits every secret: whatever the secret's
// first byte might be, some missing share makes it so, each of them once.
func TestFewerKnowNothing(t *testing.T) {
	shares, err := shamir.Split(secret.Own([]byte{42}), 3, 3)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[byte]bool{}
	for y := range 256 {
		got, err := shamir.Combine([]shamir.Share{shares[0], shares[1], {X: 3, Y: secret.Own([]byte{byte(y)})}})
		if err != nil {
			t.Fatal(err)
		}
		seen[got.Reveal()[0]] = true
	}
	if len(seen) != 256 {
		t.Errorf("two of three shares leave %d secrets, want all 256", len(seen))
	}
}

// Two splits of one secret have nothing in common.
func TestSplitIsRandom(t *testing.T) {
	key := secret.Random(32)
	a, _ := shamir.Split(key, 2, 2)
	b, _ := shamir.Split(key, 2, 2)
	if a[0].Y.Equal(b[0].Y) || a[0].Y.Equal(key) {
		t.Error("a share is predictable")
	}
}

func TestRefused(t *testing.T) {
	for _, of := range []struct{ k, n int }{{0, 0}, {1, 1}, {1, 3}, {3, 2}, {2, 256}, {-1, 5}} {
		if _, err := shamir.Split(secret.Random(32), of.k, of.n); err == nil {
			t.Errorf("Split into %d of %d: no error", of.k, of.n)
		}
	}
	if _, err := shamir.Split(secret.Bytes{}, 2, 3); err == nil {
		t.Error("Split of nothing: no error")
	}
	y := func(n int) secret.Bytes { return secret.Random(n) }
	for name, shares := range map[string][]shamir.Share{
		"none":          nil,
		"one":           {{X: 1, Y: y(32)}},
		"twice":         {{X: 1, Y: y(32)}, {X: 2, Y: y(32)}, {X: 1, Y: y(32)}},
		"of two sizes":  {{X: 1, Y: y(32)}, {X: 2, Y: y(31)}},
		"at the secret": {{X: 0, Y: y(32)}, {X: 2, Y: y(32)}},
		"empty":         {{X: 1}, {X: 2}},
	} {
		if got, err := shamir.Combine(shares); err == nil {
			t.Errorf("Combine of %s = %v, want an error", name, got)
		}
	}
}

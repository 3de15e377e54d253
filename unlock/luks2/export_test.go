package luks2

// XTS is the cipher, for the comparison with golang.org/x/crypto/xts.
func XTS(key, b []byte, sectorBytes int, iv uint64, encrypt bool) {
	if encrypt {
		newXTS(key).encrypt(b, sectorBytes, iv)
	} else {
		newXTS(key).decrypt(b, sectorBytes, iv)
	}
}

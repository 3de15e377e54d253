package kms_test

import (
	"fmt"

	"latchkey/kms"
)

// A node is named by its TPM's endorsement key. People compare six words of
// that name, on the node's console and at the key server.
func ExampleNodeID_Words() {
	id, err := kms.ParseNodeID("26e8d75d1d70ae7e01b5a2fbd6f4d7d6e4c0a5c1b5d1f5e2c7f3a9d0b8e6c4a2")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(id.Words())
	// Output:
	// crisp cobalt rafter helmet swift origami
}

// A pin is the key server's public key as an image carries it; it is the
// only thing that makes a key server trusted.
func ExampleParsePin() {
	pin, err := kms.ParsePin("lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=")
	fmt.Println(pin, err)

	_, err = kms.ParsePin("lk1:IACMx2")
	fmt.Println(err)
	// Output:
	// lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0= <nil>
	// reading KMS key "lk1:IACMx2": not lk1: and 32 bytes in base64
}

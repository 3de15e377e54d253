// Package talostest is a KMS of Talos in software, and what Talos writes into
// headers.
package talostest

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"

	"latchkey/internal/tlsclient/tlstest"
)

// A KMS answers calls of Unseal, by frames of its own.
type KMS struct {
	Node string      // whom it knows; others are refused
	Blob string      // what it has sealed
	Key  string      // what is in there
	TLS  *tls.Config // nil: in the clear

	mu    sync.Mutex
	asked int
}

// Know changes whom it knows.
func (k *KMS) Know(node string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Node = node
}

// Asked is how often it was asked.
func (k *KMS) Asked() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}

func frame(kind, flags byte, stream uint32, payload string) []byte {
	n := len(payload)
	return append(binary.BigEndian.AppendUint32([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, stream), payload...)
}

func field(name, value string) string {
	return "\x10" + string([]byte{byte(len(name))}) + name + string([]byte{byte(len(value))}) + value
}

// Serve answers one call on a connection.
func (k *KMS) Serve(conn net.Conn) {
	conn = tlstest.Buffered(conn)
	if k.TLS != nil {
		conn = tls.Server(conn, k.TLS)
	}
	defer conn.Close()
	request, err := hear(conn)
	if err != nil {
		return
	}
	k.mu.Lock()
	k.asked++
	known := bytes.Equal(request, fmt.Appendf(nil, "\x0a%c%s\x12%c%s", len(k.Node), k.Node, len(k.Blob), k.Blob))
	k.mu.Unlock()
	head := "\x88" + field("content-type", "application/grpc")
	out := frame(4, 0, 0, "")
	if known {
		message := fmt.Sprintf("\x0a%c%s", len(k.Key), k.Key)
		body := string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
		out = append(append(append(out, frame(1, 4, 1, head)...), frame(0, 0, 1, body)...), frame(1, 5, 1, field("grpc-status", "0"))...)
	} else {
		out = append(out, frame(1, 5, 1, head+field("grpc-status", "7")+field("grpc-message", "refused"))...)
	}
	conn.Write(out)
}

// hear is the message of the one call.
func hear(r io.Reader) ([]byte, error) {
	if _, err := io.ReadFull(r, make([]byte, 24)); err != nil { // RFC 9113, section 3.4
		return nil, err
	}
	var message []byte
	for {
		var head [9]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(r, payload); err != nil {
			return nil, err
		}
		if head[3] == 0 {
			message = append(message, payload...)
		}
		if head[3] == 0 && head[4]&1 != 0 && len(message) >= 5 {
			return message[5:], nil
		}
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// Passphrase is what Talos makes of a key.
func Passphrase(key string) string { return b64(key) }

// Name is what the plan calls what is sealed.
func Name(sealed string) string {
	sum := sha256.Sum256([]byte(sealed))
	return hex.EncodeToString(sum[:])
}

// TokenKMS is a token of the type sideroKMS.
func TokenKMS(blob string) json.RawMessage {
	return fmt.Appendf(nil, `{"UserData":{"sealedData":%q},"type":"sideroKMS","keyslots":[]}`, b64(blob))
}

// TokenTPM is a token of the type talos-tpm2 for PCR 7, whose secret the TPM
// of boottest has in clear.
func TokenTPM(public, key string, signed string) json.RawMessage {
	sized := func(s string) string { return b64(fmt.Sprintf("\x00%c%s", len(s), s)) }
	return fmt.Appendf(nil, `{"UserData":{"keyslots":[0],"sealed_blob_private":%q,"sealed_blob_public":%q,"pcrs":[7],"pubkey_pcrs":[%s],"alg":"sha256","encryption_version":"1","policy_hash":"","key_name":%q},"type":"talos-tpm2","keyslots":[]}`,
		sized(key), sized(public), signed, sized("name"))
}

// Salt is the file in STATE.
func Salt(salt string) string {
	out := "diskSalt:\n"
	for _, b := range []byte(salt) {
		out += fmt.Sprintf("    - %d\n", b)
	}
	return out
}

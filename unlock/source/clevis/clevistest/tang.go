// Package clevistest is a tang server in software, and what clevis encrypts
// for it.
package clevistest

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"

	"latchkey/internal/tlsclient/tlstest"
)

// A Tang is a tang server with one exchange key.
type Tang struct {
	Curve elliptic.Curve // of crypto/elliptic, for its names and numbers alone
	TLS   *tls.Config    // nil: plain HTTP
	key   *ecdh.PrivateKey
}

func ecdhOf(c elliptic.Curve) ecdh.Curve {
	return map[string]ecdh.Curve{"P-256": ecdh.P256(), "P-384": ecdh.P384(), "P-521": ecdh.P521()}[c.Params().Name]
}

// New makes a server with a new key.
func New(c elliptic.Curve) *Tang {
	key, err := ecdhOf(c).GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return &Tang{Curve: c, key: key}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// JWK is a public key as JOSE has it, with its members in the order of RFC
// 7638.
func JWK(c elliptic.Curve, k *ecdh.PublicKey) string {
	raw := k.Bytes()[1:]
	return fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`, c.Params().Name, b64(raw[:len(raw)/2]), b64(raw[len(raw)/2:]))
}

// Thumbprint is the name of the key: RFC 7638 with SHA-256.
func (t *Tang) Thumbprint() string {
	sum := sha256.Sum256([]byte(JWK(t.Curve, t.key.PublicKey())))
	return b64(sum[:])
}

// Seal is what clevis encrypts for the server at a URL, in the compact form.
func (t *Tang) Seal(url string, content []byte) string {
	return SealFor(Recipient{t.Curve, t.key.PublicKey(), t.Thumbprint()}, url, content)
}

// A Recipient is a tang server's exchange key.
type Recipient struct {
	Curve      elliptic.Curve // of crypto/elliptic, for its name alone
	Key        *ecdh.PublicKey
	Thumbprint string
}

// SealFor is Seal for a server of another make.
func SealFor(to Recipient, url string, content []byte) string {
	e, err := ecdhOf(to.Curve).GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	shared, err := e.ECDH(to.Key)
	if err != nil {
		panic(err)
	}
	sum := sha256.New()
	sum.Write([]byte{0, 0, 0, 1})
	sum.Write(shared)
	sum.Write(binary.BigEndian.AppendUint32(nil, 7))
	io.WriteString(sum, "A256GCM")
	sum.Write(make([]byte, 8))
	sum.Write(binary.BigEndian.AppendUint32(nil, 256))
	return Message(fmt.Sprintf(`{"alg":"ECDH-ES","clevis":{"pin":"tang","tang":{"adv":{"keys":[]},"url":%q}},"enc":"A256GCM","epk":%s,"kid":%q}`,
		url, JWK(to.Curve, e.PublicKey()), to.Thumbprint), sum.Sum(nil), content)
}

// Message encrypts by a content key.
func Message(header string, key, content []byte) string {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	iv := make([]byte, 12)
	rand.Read(iv)
	protected := b64([]byte(header))
	sealed := gcm.Seal(nil, iv, content, []byte(protected))
	n := len(content)
	return strings.Join([]string{protected, "", b64(iv), b64(sealed[:n]), b64(sealed[n:])}, ".")
}

// Share encrypts for some of several messages: each gets a point of a
// polynomial, made for it by seal.
func Share(threshold int, content []byte, seal ...func(share []byte) string) string {
	p, err := rand.Prime(rand.Reader, 256)
	if err != nil {
		panic(err)
	}
	number := func() *big.Int {
		n, err := rand.Int(rand.Reader, p)
		if err != nil {
			panic(err)
		}
		return n
	}
	var poly []*big.Int
	for range threshold {
		poly = append(poly, number())
	}
	var texts []string
	for _, s := range seal {
		x, y := number(), new(big.Int)
		for i := threshold - 1; i >= 0; i-- {
			y.Mul(y, x).Add(y, poly[i]).Mod(y, p)
		}
		share := make([]byte, 64)
		x.FillBytes(share[:32])
		y.FillBytes(share[32:])
		texts = append(texts, s(share))
	}
	list, err := json.Marshal(texts)
	if err != nil {
		panic(err)
	}
	key := poly[0].FillBytes(make([]byte, 32))
	return Message(fmt.Sprintf(`{"alg":"dir","clevis":{"pin":"sss","sss":{"jwe":%s,"p":%q,"t":%d}},"enc":"A256GCM"}`, list, b64(p.Bytes()), threshold), key, content)
}

// Token is a message as the token of a keyslot.
func Token(compact string, slot int) json.RawMessage {
	p := strings.Split(compact, ".")
	return fmt.Appendf(nil, `{"type":"clevis","keyslots":["%d"],"jwe":{"ciphertext":%q,"encrypted_key":"","iv":%q,"protected":%q,"tag":%q}}`, slot, p[3], p[2], p[0], p[4])
}

// Recover is the server's part: the point of a request times its secret.
func (t *Tang) Recover(request []byte) ([]byte, error) {
	var k struct{ X, Y string }
	if err := json.Unmarshal(request, &k); err != nil {
		return nil, err
	}
	x, err := base64.RawURLEncoding.DecodeString(k.X)
	if err != nil {
		return nil, err
	}
	y, err := base64.RawURLEncoding.DecodeString(k.Y)
	if err != nil {
		return nil, err
	}
	p, err := ecdhOf(t.Curve).NewPublicKey(append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, err
	}
	shared, err := t.key.ECDH(p)
	if err != nil {
		return nil, err
	}

	// Either of the two points with this x does: only x becomes the key.
	c := t.Curve.Params()
	v := new(big.Int).SetBytes(shared)
	sq := new(big.Int).Exp(v, big.NewInt(3), c.P)
	sq.Sub(sq, new(big.Int).Mul(v, big.NewInt(3))).Add(sq, c.B).Mod(sq, c.P)
	root := new(big.Int).ModSqrt(sq, c.P)
	return fmt.Appendf(nil, `{"alg":"ECMR","crv":%q,"key_ops":["deriveKey"],"kty":"EC","x":%q,"y":%q}`, c.Name, b64(shared), b64(root.FillBytes(make([]byte, len(shared))))), nil
}

// Serve answers one request on a connection.
func (t *Tang) Serve(conn net.Conn) {
	if t.TLS != nil {
		conn = tls.Server(tlstest.Buffered(conn), t.TLS)
	}
	defer conn.Close()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	reply, err := t.Recover(body)
	if err != nil || r.Method != "POST" || r.URL.Path != "/rec/"+t.Thumbprint() {
		io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/jwk+json\r\nContent-Length: %d\r\n\r\n%s", len(reply), reply)
}

package boottest

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/google/go-tpm/tpm2"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/internal/tlsclient/tlstest"
	"latchkey/kms"
	server "latchkey/kms/server/kairos"
	"latchkey/kms/server/kairos/kairostest"
	"latchkey/unlock/source/kairos"
	"latchkey/unlock/tpm"
)

// A Challenger is a server of Kairos' protocol: our own key server's, with a
// keeper of a few passphrases.
type Challenger struct {
	Secrets map[string]string // by label
	Refuses server.Reason     // 0: it gives them
	Kept    bool              // the passphrases are what the TPM of the machine encrypted
	TLS     *tls.Config
	Older   bool // it knows the older generation only

	mu    sync.Mutex
	asked []server.Proof
}

// Set changes why it refuses.
func (c *Challenger) Set(r server.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Refuses = r
}

// SetChallenger starts a server while the machine runs.
func (m *Machine) SetChallenger(address string, c *Challenger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Challengers[address] = c
}

// Asked are the proofs that it was shown.
func (c *Challenger) Asked() []server.Proof {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// Work implements server.Keeper.
func (c *Challenger) Work(_ context.Context, f func() error) error { return f() }

// Release implements server.Keeper.
func (c *Challenger) Release(_ context.Context, p *server.Proof) (*server.Answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, *p)
	s, ok := c.Secrets[p.Request.Label]
	switch {
	case c.Refuses != 0:
		return nil, &server.Refusal{Reason: c.Refuses}
	case !ok:
		return nil, &server.Refusal{Reason: server.NoVolume}
	}
	return &server.Answer{Passphrase: secret.Own([]byte(s)), Sealed: c.Kept}, nil
}

// Deposit implements server.Keeper: an init makes nothing.
func (c *Challenger) Deposit(context.Context, *server.Proof, []byte) error {
	panic("a passphrase was made while a machine booted")
}

// Serve answers one connection.
func (c *Challenger) Serve(conn net.Conn) {
	if c.TLS != nil {
		conn = tls.Server(tlstest.Buffered(conn), c.TLS)
	}
	h := server.Handler(c, slog.New(slog.DiscardHandler))
	only := &oneConn{conn: conn, closed: make(chan struct{})}
	(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.Older && r.URL.Path == server.AttestationPath {
			w.Header().Set("Connection", "close")
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})}).Serve(only)
}

// A oneConn listens for a connection that is there already.
type oneConn struct {
	conn   net.Conn
	taken  bool
	closed chan struct{}
	once   sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.taken {
		l.taken = true
		return counted{l.conn, l}, nil
	}
	<-l.closed
	return nil, io.EOF
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// counted ends its listener when it is closed.
type counted struct {
	net.Conn
	l *oneConn
}

func (c counted) Close() error {
	defer c.l.once.Do(func() { close(c.l.closed) })
	return c.Conn.Close()
}

// softTPM is the RSA keys of all machines: making them takes long.
var softTPM = sync.OnceValue(func() *kairostest.Soft {
	s, err := kairostest.NewSoft()
	if err != nil {
		panic(err)
	}
	return s
})

// Kairos implements worker.TPM.
func (c chip) Kairos(ctx context.Context, _ tpm2.TPMHandle) (kairos.TPM, error) {
	if err := c.use(ctx, c.p); err != nil {
		return nil, err
	}
	k := &kairosKeys{chip: c}
	return k, k.Renew(ctx)
}

// KeptByKairos implements worker.TPM.
func (c chip) KeptByKairos(ctx context.Context, index, _ tpm2.TPMHandle) (secret.Bytes, error) {
	if err := c.use(ctx, c.p); err != nil {
		return secret.Bytes{}, err
	}
	kept, ok := c.NV[uint32(index)]
	if !ok {
		return secret.Bytes{}, codes.Fail(tpm.CodeSealForeign, "reading NV index %#x: the TPM has nothing there", uint32(index))
	}
	return secret.Own([]byte(kept)), nil
}

type kairosKeys struct {
	chip
	ak kairostest.AK
}

func (k *kairosKeys) SPKI() []byte { return softTPM().SPKI() }

func (k *kairosKeys) AK() tpm.AttestationKey {
	return tpm.AttestationKey{Public: k.ak.Public(), CreateData: []byte{1}, CreateAttestation: []byte{1}, CreateSignature: []byte{1}}
}

func (k *kairosKeys) Renew(context.Context) (err error) {
	k.ak, err = softTPM().NewAK()
	return err
}

func (k *kairosKeys) Prove(ctx context.Context, credential, seed []byte) (secret.Bytes, kms.Quote, error) {
	if err := k.use(ctx, k.p); err != nil {
		return secret.Bytes{}, kms.Quote{}, err
	}
	opened, err := k.ak.Activate(credential, seed)
	if err != nil {
		return secret.Bytes{}, kms.Quote{}, err
	}
	attest, signature, pcrs, err := k.ak.Quote()
	q := kms.Quote{Attest: attest, Signature: signature}
	for name, value := range pcrs {
		i, _ := strconv.Atoi(name)
		q.PCRs = append(q.PCRs, kms.PCR{Index: i, Value: [32]byte(value)})
	}
	return secret.Own(opened), q, err
}

// Decrypt takes what is sealed as identity.Seal makes it.
func (k *kairosKeys) Decrypt(_ context.Context, blob []byte) (secret.Bytes, error) {
	plain, ok := bytes.CutPrefix(blob, sealed)
	if !ok {
		return secret.Bytes{}, codes.Fail(tpm.CodeSealForeign, "it was not encrypted to the key of this TPM")
	}
	return secret.Own(bytes.Clone(plain)), nil
}

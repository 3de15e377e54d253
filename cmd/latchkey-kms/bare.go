package main

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"latchkey/internal/secret"
)

type secretBytes = secret.Bytes

// A benchResult is what a bench measured, in one run on one machine.
type benchResult struct {
	Nodes      int             `json:"nodes"`
	Cores      int             `json:"cores"`
	Burst      burst           `json:"all_at_once"`
	Answers    []answerTime    `json:"answers"`
	Challenges rate            `json:"challenges"`
	Exchanges  rate            `json:"exchanges"`
	Bare       []bareOperation `json:"bare_operations"`
}

// A bareOperation is one public-key operation with nothing around it.
type bareOperation struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"per_second"`
}

// bareTime is how long each bare operation is repeated.
const bareTime = 200 * time.Millisecond

func bareOperations() []bareOperation {
	digest := sha256.Sum256(nil)
	p256, _ := ecdh.P256().GenerateKey(rand.Reader)
	x25519, _ := ecdh.X25519().GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	sig, _ := ecdsa.SignASN1(rand.Reader, ec, digest[:])
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	cipher, _ := rsa.EncryptOAEP(sha256.New(), rand.Reader, &rsaKey.PublicKey, digest[:], nil)
	var out []bareOperation
	for _, op := range []struct {
		name string
		f    func()
	}{
		{"P-256 generate", func() { ecdh.P256().GenerateKey(rand.Reader) }},
		{"P-256 ECDH", func() { p256.ECDH(p256.PublicKey()) }},
		{"P-256 ECDSA verify", func() { ecdsa.VerifyASN1(&ec.PublicKey, digest[:], sig) }},
		{"RSA-2048 public", func() { rsa.EncryptOAEP(sha256.New(), rand.Reader, &rsaKey.PublicKey, digest[:], nil) }},
		{"RSA-2048 private", func() { rsa.DecryptOAEP(sha256.New(), nil, rsaKey, cipher, nil) }},
		{"Ed25519 sign", func() { ed25519.Sign(ed, digest[:]) }},
		{"X25519 generate", func() { ecdh.X25519().GenerateKey(rand.Reader) }},
		{"X25519", func() { x25519.ECDH(x25519.PublicKey()) }},
	} {
		n, start := 0, time.Now()
		for time.Since(start) < bareTime {
			op.f()
			n++
		}
		out = append(out, bareOperation{op.name, float64(n) / time.Since(start).Seconds()})
	}
	return out
}

func (r *benchResult) print(w io.Writer) {
	fmt.Fprintf(w, "all at once: %d of %d machines served in %v, %d retries\n", r.Burst.Served, r.Nodes, r.Burst.Took.Round(time.Millisecond), r.Burst.Retries)
	for _, a := range r.Answers {
		fmt.Fprintf(w, "one exchange, %s: median %v\n", a.Answer, a.Median.Round(time.Microsecond))
	}
	for _, v := range []struct {
		name string
		rate rate
	}{{"challenges", r.Challenges}, {"whole exchanges", r.Exchanges}} {
		fmt.Fprintf(w, "%s: %.0f per second and core of the KMS (%d in %v, %v of its processor time)\n",
			v.name, v.rate.PerCore, v.rate.Done, v.rate.Took.Round(time.Millisecond), v.rate.CPU.Round(10*time.Millisecond))
	}
	fmt.Fprintf(w, "one core of this machine, same run (%d cores):\n", r.Cores)
	for _, op := range r.Bare {
		fmt.Fprintf(w, "  %-20s %8.0f per second; a challenge costs %.1f of them\n", op.Name, op.PerSecond, op.PerSecond/r.Challenges.PerCore)
	}
}

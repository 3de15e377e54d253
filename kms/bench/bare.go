package bench

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Result is what a bench measured, in one run on one machine.
type Result struct {
	Nodes   int             `json:"nodes"`
	Cores   int             `json:"cores"`
	Burst   burst           `json:"all_at_once"`
	Answers []answerTime    `json:"answers,omitempty"`
	Runs    []rate          `json:"runs"`
	Bare    []bareOperation `json:"bare_operations"`
}

// A bareOperation is one public-key operation with nothing around it.
type bareOperation struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"per_second_and_core"`
}

// bareTime is how long each bare operation is repeated.
const bareTime = 300 * time.Millisecond

func bareOperations() (out []bareOperation) {
	kem, _ := mlkem.GenerateKey768()
	_, ciphertext := kem.EncapsulationKey().Encapsulate()
	digest := sha256.Sum256(nil)
	p256, _ := ecdh.P256().GenerateKey(rand.Reader)
	x25519, _ := ecdh.X25519().GenerateKey(rand.Reader)
	p521, _ := ecdh.P521().GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	sig, _ := ecdsa.SignASN1(rand.Reader, ec, digest[:])
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	rsaSig, _ := rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, digest[:])
	for _, op := range []struct {
		name string
		f    func()
	}{
		{"P-256 generate", func() { ecdh.P256().GenerateKey(rand.Reader) }},
		{"P-256 ECDH", func() { p256.ECDH(p256.PublicKey()) }},
		{"P-521 ECDH", func() { p521.ECDH(p521.PublicKey()) }},
		{"P-256 ECDSA verify", func() { ecdsa.VerifyASN1(&ec.PublicKey, digest[:], sig) }},
		{"RSA-2048 public", func() { rsa.EncryptOAEP(sha256.New(), rand.Reader, &rsaKey.PublicKey, digest[:], nil) }},
		{"RSA-2048 verify", func() { rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, digest[:], rsaSig) }},
		{"Ed25519 sign", func() { ed25519.Sign(ed, digest[:]) }},
		{"X25519 generate", func() { ecdh.X25519().GenerateKey(rand.Reader) }},
		{"ML-KEM-768 decapsulate", func() { kem.Decapsulate(ciphertext) }},
		{"X25519", func() { x25519.ECDH(x25519.PublicKey()) }},
	} {
		out = append(out, bareOperation{op.name, repeat(op.f)})
	}

	return out
}

// repeat runs f on all cores at once, as the KMS did under load, and
// returns how many a second of one core's time does.
func repeat(f func()) float64 {
	var done atomic.Int64
	var all sync.WaitGroup
	before, start := processorTime(), time.Now()
	for range runtime.NumCPU() {
		all.Go(func() {
			for time.Since(start) < bareTime {
				for range 8 {
					f()
				}
				done.Add(8)
			}
		})
	}

	all.Wait()
	return float64(done.Load()) / (processorTime() - before).Seconds()
}

// processorTime is what this process has used: getrusage(2).
func processorTime() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// compare says for each run what the bare operations allow.
func (r *Result) compare() {
	speed := map[string]float64{}
	for _, op := range r.Bare {
		speed[op.Name] = op.PerSecond
	}
	for i := range r.Runs {
		one, seconds := &r.Runs[i], 0.0
		for _, name := range one.bare {
			seconds += 1 / speed[name]
		}
		if seconds > 0 {
			one.Allowed = 1 / seconds
			one.Ratio = one.PerCore / one.Allowed
			if one.Empty > 0 {
				one.Over = (1 / one.PerCore) / (seconds + 1/one.Empty)
			}
		}
	}
}

// Print prints it for people.
func (r *Result) Print(w io.Writer) {
	if r.Burst.Served > 0 {
		fmt.Fprintf(w, "lk1, all at once: %d of %d machines served in %v, %d retries; %v\n",
			r.Burst.Served, min(r.Nodes, maxBurst), r.Burst.Took.Round(time.Millisecond), r.Burst.Retries, r.Burst.Times)
	}
	for _, a := range r.Answers {
		fmt.Fprintf(w, "lk1, one exchange, %s: median %v\n", a.Answer, a.Median.Round(time.Microsecond))
	}
	for _, v := range r.Runs {
		v.print(w)
	}
	fmt.Fprintf(w, "one core of this machine, same run, all %d cores busy:\n", r.Cores)
	for _, op := range r.Bare {
		fmt.Fprintf(w, "  %-22s %8.0f per second\n", op.Name, op.PerSecond)
	}
}

func (v *rate) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %.0f per second and core of the KMS (%d in %v, %v of its processor time, resident %d MiB before and %d after); %v\n",
		v.Name, v.PerCore, v.Done, v.Took.Round(time.Millisecond), v.CPU.Round(10*time.Millisecond), v.ResidentBefore>>20, v.Resident>>20, v.Times)
	for _, code := range slices.Sorted(maps.Keys(v.Errors)) {
		fmt.Fprintf(w, "  %d times: %s\n", v.Errors[code], code)
	}
	if v.Ratio > 0 {
		fmt.Fprintf(w, "  ratio %.2f of the %.0f that the bare %s allow\n", v.Ratio, v.Allowed, strings.Join(v.bare, " + "))
	}
	if v.Over > 0 {
		fmt.Fprintf(w, "  %.2f x the time of these and an empty HTTP server (%.0f per second and core) together\n", v.Over, v.Empty)
	}
}

package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/kms/backup"
	"latchkey/kms/backup/bucket"
)

// gatewayEnv names the program that serves S3.
const gatewayEnv = "LATCHKEY_VERSITYGW"

// gateway serves a directory of buckets by S3.
func gateway(t *testing.T) (endpoint, dir string) {
	t.Helper()
	program := os.Getenv(gatewayEnv)
	switch {
	case program == "" && os.Getenv("CI") == "true":
		t.Fatalf("needs a server of S3: %s=$(images/versitygw)", gatewayEnv)
	case program == "":
		t.Skipf("needs a server of S3: %s=$(images/versitygw)", gatewayEnv)
	}
	dir = t.TempDir()
	for range 5 { // somebody else may take the port
		if endpoint = serve(t, program, dir); endpoint != "" {
			return endpoint, dir
		}
	}
	t.Fatal("the server of S3 did not start")
	return "", ""
}

func serve(t *testing.T, program, dir string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()

	var log bytes.Buffer
	cmd := exec.Command(program, "--port", address, "--access", "kms", "--secret", "correct horse", "--quiet", "posix", "--sidecar", t.TempDir(), dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if reply, err := http.Get("http://" + address); err == nil {
			reply.Body.Close()
			return "http://" + address
		}
		select {
		case err := <-ended:
			t.Logf("the server of S3 ended: %v\n%s", err, &log)
			ended <- err
			return ""
		default:
		}
	}
	t.Fatalf("the server of S3 does not answer\n%s", &log)
	return ""
}

// credentials is a file as the tools of AWS write it.
func credentials(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = kms\naws_secret_access_key = %s\n", secret)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func at(t *testing.T, c bucket.Config) *bucket.Bucket {
	t.Helper()
	b, err := bucket.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func name(epoch uint64) backup.Name {
	return backup.Name{Of: "1f2e3d4c", At: time.Date(2026, 11, 28, 20, 0, int(epoch), 0, time.UTC), Epoch: epoch}
}

// compatible: Stores | Versity S3 gateway 1.8 | keeps backups, whole or not at all
//
// What is written to a bucket comes back, also in several parts; the prefix
// keeps two key servers apart; what is no backup is not listed.
func TestBucket(t *testing.T) {
	endpoint, dir := gateway(t)
	if err := os.Mkdir(filepath.Join(dir, "backups"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := bucket.Config{Endpoint: endpoint, Bucket: "backups", Prefix: "shop/berlin/", Region: "us-east-1", Credentials: credentials(t, "correct horse")}
	b := at(t, c)
	c.Prefix = ""
	root := at(t, c)
	if err := os.WriteFile(filepath.Join(dir, "backups", "kms-notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<16) // 20 MiB: two parts
	for n, text := range map[uint64][]byte{1: []byte("small"), 2: large} {
		if err := b.Put(t.Context(), name(n), func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
			t.Fatal(err)
		}
		r, err := b.Open(t.Context(), name(n))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("backup %d came back with %d bytes, %v; want %d", n, len(got), err, len(text))
		}
	}
	all, err := b.List(t.Context())
	if backup.Sort(all); err != nil || len(all) != 2 || all[0].Name != name(1) || all[1].Bytes != int64(len(large)) {
		t.Errorf("List = %v, %v", all, err)
	}
	if all, err := root.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("without the prefix: %v, %v, want none", all, err)
	}

	if err := b.Put(t.Context(), name(1), func(io.Writer) error { return nil }); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("the same name again: %v", err)
	}
	if err := b.Remove(t.Context(), name(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(t.Context(), name(1)); err == nil || !strings.Contains(err.Error(), "NoSuchKey") {
		t.Errorf("a backup that was removed: %v, want NoSuchKey", err)
	}
}

// A writer that fails leaves no object, however much it had written.
func TestHalfABackup(t *testing.T) {
	endpoint, dir := gateway(t)
	if err := os.Mkdir(filepath.Join(dir, "backups"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := at(t, bucket.Config{Endpoint: endpoint, Bucket: "backups", Region: "us-east-1", Credentials: credentials(t, "correct horse")})
	away := errors.New("the disk of the copy is gone")
	for _, size := range []int{0, 100, 20 << 20} {
		err := b.Put(t.Context(), name(1), func(w io.Writer) error {
			w.Write(make([]byte, size))
			return away
		})
		if !errors.Is(err, away) {
			t.Errorf("after %d bytes: %v, want %v", size, err, away)
		}
		if all, err := b.List(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("after %d bytes there is %v, %v", size, all, err)
		}
	}
}

// One line says what is wrong.
func TestBucketsThatAreNone(t *testing.T) {
	endpoint, dir := gateway(t)
	if err := os.Mkdir(filepath.Join(dir, "backups"), 0o755); err != nil {
		t.Fatal(err)
	}
	good := bucket.Config{Endpoint: endpoint, Bucket: "backups", Region: "us-east-1", Credentials: credentials(t, "correct horse")}
	for want, change := range map[string]func(*bucket.Config){
		"NoSuchBucket":          func(c *bucket.Config) { c.Bucket = "elsewhere" },
		"SignatureDoesNotMatch": func(c *bucket.Config) { c.Credentials = credentials(t, "wrong") },
		"no such file":          func(c *bucket.Config) { c.Credentials = filepath.Join(t.TempDir(), "none") },
		"connection refused":    func(c *bucket.Config) { c.Endpoint = "http://127.0.0.1:1" },
	} {
		c := good
		change(&c)
		b := at(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := b.Put(ctx, name(1), func(w io.Writer) error { _, err := w.Write([]byte("x")); return err })
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Put: %v, want %q", err, want)
		}
		if _, err := b.List(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("List: %v, want %q", err, want)
		}
		cancel()
	}
}

// Without credentials nothing is asked: S3 would say that strangers may not.
func TestBucketsWithoutKeys(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"} {
		t.Setenv(name, "")
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("[default]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := at(t, bucket.Config{Endpoint: "http://127.0.0.1:1", Bucket: "backups", Region: "us-east-1", Credentials: empty})
	if _, err := b.List(t.Context()); err == nil || !strings.Contains(err.Error(), "backup.s3.credentials") {
		t.Errorf("List without credentials: %v, want that they are missing", err)
	}
}

func TestNew(t *testing.T) {
	for want, c := range map[string]bucket.Config{
		"must be the URL of a server of S3": {Endpoint: "s3.example.org", Bucket: "backups"},
		"must be the URL of a":              {Endpoint: "https://s3.example.org/backups", Bucket: "backups"},
		"must be the URL":                   {Endpoint: "https://key:secret@s3.example.org", Bucket: "backups"},
		"no name of a bucket":               {Endpoint: "https://s3.example.org", Bucket: "Backups"},
		"no such file":                      {Endpoint: "https://s3.example.org", Bucket: "backups", CA: filepath.Join(t.TempDir(), "ca.pem")},
	} {
		if _, err := bucket.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v): %v, want %q", c, err, want)
		}
	}
}

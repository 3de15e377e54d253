// Package bucket keeps backups in a bucket of S3 or of what speaks its
// protocol.
package bucket

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"latchkey/kms/backup"
)

// Config is where a bucket is.
type Config struct {
	Endpoint    string // https://HOST[:PORT]; http:// for a test or a link that is secure otherwise
	Bucket      string
	Prefix      string // of the objects' names
	Region      string // "": asked
	Credentials string // file as of the AWS tools; "": environment, then the instance's role
	CA          string // PEM file; "": the system's
}

// A Bucket implements backup.Place.
type Bucket struct {
	c      *minio.Client
	bucket string
	prefix string
	shown  string
}

// tries is how often a request is made: the next backup is another try.
const tries = 3

// New makes one; nothing is asked yet.
func New(c Config) (*Bucket, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%.80q must be the URL of a server of S3, as https://s3.example.org", c.Endpoint)
	}
	if err := checkBucket(c.Bucket); err != nil {
		return nil, err
	}
	through, err := transport(c.CA)
	if err != nil {
		return nil, err
	}

	client, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.New(provider(c.Credentials, through)), Secure: u.Scheme == "https", Region: c.Region, Transport: through, MaxRetries: tries,
	})
	if err != nil {
		return nil, err
	}
	prefix := strings.TrimPrefix(path.Join("/", c.Prefix), "/")
	if prefix != "" {
		prefix += "/"
	}
	return &Bucket{client, c.Bucket, prefix, fmt.Sprintf("s3 %s/%s/%s", u.Host, c.Bucket, prefix)}, nil
}

// provider is who says by which key requests are signed.
func provider(file string, through http.RoundTripper) credentials.Provider {
	if file != "" {
		return signed{&credentials.FileAWSCredentials{Filename: file}}
	}
	role := &credentials.IAM{Client: &http.Client{Transport: through, Timeout: 10 * time.Second}}
	return signed{&credentials.Chain{Providers: []credentials.Provider{&credentials.EnvAWS{}, role}}}
}

// signed is a provider that never has anonymous requests made: what they are
// answered says nothing about what is wrong.
type signed struct{ credentials.Provider }

// RetrieveWithCredContext implements credentials.Provider.
func (s signed) RetrieveWithCredContext(c *credentials.CredContext) (credentials.Value, error) {
	v, err := s.Provider.RetrieveWithCredContext(c)
	if err == nil && (v.AccessKeyID == "" || v.SecretAccessKey == "") {
		err = errors.New("there are no credentials: name their file (backup.s3.credentials), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return v, err
}

// checkBucket: as the S3 user guide has it.
func checkBucket(name string) error {
	bad := strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.')
	})
	if len(name) < 3 || len(name) > 63 || bad >= 0 {
		return fmt.Errorf("%.80q is no name of a bucket: 3 to 63 of a-z, 0-9, \"-\" and \".\"", name)
	}
	return nil
}

func transport(ca string) (*http.Transport, error) {
	t, err := minio.DefaultTransport(true)
	if err != nil || ca == "" {
		return t, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", ca)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t, nil
}

func (b *Bucket) String() string { return b.shown }

// part is how much is held in memory while a backup is written, in bytes: of
// S3's 10,000 parts that is 160 GB.
const part = 16 << 20

// Put implements backup.Place: an object is there when all of its parts are.
func (b *Bucket) Put(ctx context.Context, name backup.Name, write func(io.Writer) error) error {
	key := b.prefix + name.String()
	if _, err := b.c.StatObject(ctx, b.bucket, key, minio.StatObjectOptions{}); err == nil {
		return fmt.Errorf("%s is there already", key)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	go func() {
		err := write(w)
		if err != nil {
			cancel(err) // or the client takes what came for the whole
		}
		w.CloseWithError(err)
	}()
	_, err := b.c.PutObject(ctx, b.bucket, key, r, -1, minio.PutObjectOptions{PartSize: part, ContentType: "application/octet-stream"})
	cause := context.Cause(ctx) // before the writer hears of it, whose error it would be
	err = explain(err)
	r.CloseWithError(cmp.Or(err, io.ErrClosedPipe)) // the writer ends
	if err != nil && cause != nil {
		return cause
	}
	return err
}

// Open implements backup.Place.
func (b *Bucket) Open(ctx context.Context, name backup.Name) (io.ReadCloser, error) {
	o, err := b.c.GetObject(ctx, b.bucket, b.prefix+name.String(), minio.GetObjectOptions{})
	if err != nil {
		return nil, explain(err)
	}
	if _, err := o.Stat(); err != nil {
		o.Close()
		return nil, explain(err)
	}
	return o, nil
}

// List implements backup.Place.
func (b *Bucket) List(ctx context.Context) (all []backup.File, err error) {
	for o := range b.c.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix}) {
		if o.Err != nil {
			return nil, explain(o.Err)
		}
		if n, ours := backup.ParseName(strings.TrimPrefix(o.Key, b.prefix)); ours {
			all = append(all, backup.File{Name: n, Bytes: o.Size})
		}
	}
	return all, nil
}

// Remove implements backup.Place.
func (b *Bucket) Remove(ctx context.Context, name backup.Name) error {
	return explain(b.c.RemoveObject(ctx, b.bucket, b.prefix+name.String(), minio.RemoveObjectOptions{}))
}

// explain adds what S3's code says, where its text alone does not.
func explain(err error) error {
	if err == nil {
		return nil
	}
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok || answer.Code == "" || strings.Contains(err.Error(), answer.Code) {
		return err
	}
	return fmt.Errorf("%s: %w", answer.Code, err)
}

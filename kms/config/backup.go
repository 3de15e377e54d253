package config

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"filippo.io/age"
	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/kms/backup"
	"latchkey/kms/backup/bucket"
	"latchkey/kms/server/policy"
)

// A Backup says where the server writes backups of its database, how often,
// and for whom.
type Backup struct {
	Dir     string          `yaml:"dir"`
	S3      BackupS3        `yaml:"s3"`
	To      []string        `yaml:"to"`    // recipients of age
	Every   policy.Duration `yaml:"every"` // 0: only when somebody asks
	Keep    int             `yaml:"keep"`  // 14 if it is not said
	Scratch string          `yaml:"scratch"`

	// What check made of it.
	Places     []backup.Place  `yaml:"-"`
	Recipients []age.Recipient `yaml:"-"`
}

// A BackupS3 is a bucket of S3, or of what speaks its protocol.
type BackupS3 struct {
	Endpoint    string `yaml:"endpoint"`
	Bucket      string `yaml:"bucket"`
	Prefix      string `yaml:"prefix"`
	Region      string `yaml:"region"`
	Credentials string `yaml:"credentials"` // file
	CA          string `yaml:"ca"`
}

// Bounds: a backup reads the whole database, and is written for years.
const (
	minBackupEvery = time.Minute
	defaultKeep    = 14
	maxKeep        = 10_000
)

func (b *Backup) check() error {
	b.Places, b.Recipients = nil, nil
	if err := b.places(); err != nil {
		return err
	}
	if len(b.Places) == 0 {
		if len(b.To) > 0 || b.Every != 0 || b.Keep != 0 || b.Scratch != "" {
			return faultf("", "it names no place to write backups to: set backup.dir or backup.s3 (or --backup-dir)")
		}
		return nil
	}

	for i, text := range b.To {
		r, err := backup.ParseRecipient(text)
		if err != nil {
			return faultf("to["+strconv.Itoa(i)+"]", "%w", err)
		}
		b.Recipients = append(b.Recipients, r)
	}
	if err := backup.CheckRecipients(b.Recipients); err != nil {
		return faultf("to", "%w", err)
	}
	if every := time.Duration(b.Every); every < 0 || every != 0 && every < minBackupEvery {
		return faultf("every", "%s is not a minute or more", every)
	}
	if b.Keep == 0 {
		b.Keep = defaultKeep
	}
	if b.Keep < 1 || b.Keep > maxKeep {
		return faultf("keep", "%d is not between 1 and %d", b.Keep, maxKeep)
	}
	return nil
}

// Backup is where backups are, and nothing else of the configuration is
// judged.
func (flags *Flags) Backup() (*Backup, error) {
	c, err := flags.read()
	if err != nil {
		return nil, err
	}
	if err := c.Backup.check(); err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: c.locate(under("backup", err))}
	}
	return &c.Backup, nil
}

func (b *Backup) places() error {
	if b.Dir != "" {
		b.Places = append(b.Places, backup.Dir(b.Dir))
	}
	if b.S3 == (BackupS3{}) {
		return nil
	}
	one, err := bucket.New(bucket.Config(b.S3))
	if err != nil {
		return under("s3", faultf("", "%w", err))
	}
	b.Places = append(b.Places, one)
	return nil
}

// warnings are what a backup is worth less for.
func (b *Backup) warnings(data string) (lines []error) {
	if b.Dir != "" {
		if info, err := os.Stat(b.Dir); err != nil || !info.IsDir() {
			lines = append(lines, faultf("backup.dir", "%s is no directory that this user can see, so no backup is written there; make it, and give it to the server's user", b.Dir))
		}
		if data, err := filepath.Abs(data); err == nil {
			if rel, err := filepath.Rel(data, b.Dir); err == nil && filepath.IsLocal(rel) {
				lines = append(lines, faultf("backup.dir", "%s is in the data directory: what destroys that destroys the backups, too; name a directory on another disk", b.Dir))
			}
		}
	}
	if len(b.Places) > 0 && b.S3.Bucket != "" && len(b.To) == 0 {
		lines = append(lines, faultf("backup.s3", "without backup.to, who reads the bucket reads the audit log and how many machines there are; secrets are sealed in any case"))
	}
	return lines
}

// backupFlags adds the flags that are about backups.
func backupFlags(f *pflag.FlagSet, add func(name, key string, apply func(*Config) error)) {
	var to []string
	f.Var(cli.List(&to), "backup-to", "recipient of age that backups are sealed to (age1…); repeatable")
	dir := f.String("backup-dir", "", "directory to write backups to, best on another disk")
	every := f.Duration("backup-every", 0, "how often to write one, as 6h (default: only when asked)")
	keep := f.Int("backup-keep", defaultKeep, "how many backups stay")
	add("backup-to", "backup.to", func(c *Config) error { c.Backup.To = to; return nil })
	add("backup-dir", "backup.dir", func(c *Config) error { c.Backup.Dir = *dir; return nil })
	add("backup-every", "backup.every", func(c *Config) error { c.Backup.Every = policy.Duration(*every); return nil })
	add("backup-keep", "backup.keep", func(c *Config) error { c.Backup.Keep = *keep; return nil })
}

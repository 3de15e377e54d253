package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/cli"
)

// touch makes a file that goes with the test.
func touch(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	return path
}

// TestWhichInit: the plan says which init an image gets, and the system that
// it is for comes first.
func TestWhichInit(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root, beside := t.TempDir(), filepath.Dir(self)
	there := filepath.Join(root, "usr/lib/latchkey")
	config := filepath.Join(t.TempDir(), "latchkey.yaml")
	option := func(o imageBuild, sources string) string {
		t.Helper()
		text := "trust: {kms: [\"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=\"]}\nvolumes: [{uuid: 11111111-2222-3333-4444-555555555555, sources: [" + sources + "]}]\n"
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		o.config, o.modules, o.level = config, root, 1
		options, err := o.options()
		if err != nil {
			t.Fatal(err)
		}
		return options.Init
	}
	const installed = "/usr/lib/latchkey/"
	tls := "clevis: {tang: " + strings.Repeat("A", 43) + ", pin: sha256//" + strings.Repeat("A", 43) + "=}"
	for _, row := range []struct {
		name    string
		o       imageBuild
		sources string
		want    string
	}{
		{"nothing is there", imageBuild{}, "kms", installed + "latchkey-init"},
		{"nothing is there, with TLS", imageBuild{}, tls, installed + "latchkey-init-tls"},
		{"another source needs TLS", imageBuild{}, "kms, " + tls, installed + "latchkey-init-tls"},
		{"the flag", imageBuild{init: "mine"}, tls, "mine"},
	} {
		if got := option(row.o, row.sources); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}

	besideTLS := touch(t, filepath.Join(beside, "latchkey-init-tls"))
	if got := option(imageBuild{system: root}, tls); got != besideTLS {
		t.Errorf("beside the command: %s", got)
	}
	if got := option(imageBuild{}, "kms"); got != installed+"latchkey-init" {
		t.Errorf("beside the command is only one with TLS, and none is needed: %s", got)
	}
	inSystem := touch(t, filepath.Join(there, "latchkey-init-tls"))
	if got := option(imageBuild{system: root}, tls); got != inSystem {
		t.Errorf("in the system: %s", got)
	}
	if got := option(imageBuild{}, tls); got != besideTLS {
		t.Errorf("without a system: %s", got)
	}

	if err := os.WriteFile(config, []byte("volumes: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := imageBuild{config: config, level: 1}
	_, err = o.options()
	if e, ok := errors.AsType[*cli.Exit](err); !ok || e.Code != cli.Usage {
		t.Errorf("a configuration without volumes: %v", err)
	}
}

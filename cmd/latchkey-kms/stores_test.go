package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/kms/store/etcd/etcdtest"
)

// Scripts with a real etcd: $ETCD is its URL; $CA, $CERT and $KEY are files to get there.
func TestEtcdScripts(t *testing.T) {
	etcd := etcdtest.Start(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/stores",
		Setup: func(e *testscript.Env) error {
			for name, value := range map[string]string{
				"ETCD": etcd.URL, "CA": etcd.CA, "CERT": etcd.Cert, "KEY": etcd.Key,
			} {
				e.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"kms": kmsCommand, "damage": damageCommand},
	})
}

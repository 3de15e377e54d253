package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/kms/store/etcd/etcdtest"
)

// Scripts with a real etcd: $ETCD is its URL; $CA, $CERT and $KEY are files to
// get there. The word etcd kills it, or starts it again.
func TestEtcdScripts(t *testing.T) {
	etcd := etcdtest.Start(t)
	power := func(ts *testscript.TestScript, _ bool, args []string) {
		if args[0] == "kill" {
			etcd.Kill()
		} else {
			etcd.Run(t)
		}
	}
	storeScripts(t, "testdata/etcd", map[string]string{"ETCD": etcd.URL, "CA": etcd.CA, "CERT": etcd.Cert, "KEY": etcd.Key}, power)
}

// storeScripts runs the scripts of a store. Those with a real API server get
// $KUBE, its URL, and $TOKEN, the file of the token of the account that
// images/kubernetes describes.
func storeScripts(t *testing.T, dir string, env map[string]string, power func(*testscript.TestScript, bool, []string)) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			for name, value := range env {
				e.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"kms": kmsCommand, "damage": damageCommand, "machine": machineCommand, "etcd": power},
	})
}

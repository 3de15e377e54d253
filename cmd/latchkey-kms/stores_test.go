package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/kms/store/etcd/etcdtest"
	"latchkey/kms/store/kube/kubetest"
)

// Scripts with a real etcd: $ETCD is its URL; $CA, $CERT and $KEY are files to
// get there.
func TestEtcdScripts(t *testing.T) {
	etcd := etcdtest.Start(t)
	storeScripts(t, "testdata/etcd", map[string]string{"ETCD": etcd.URL, "CA": etcd.CA, "CERT": etcd.Cert, "KEY": etcd.Key})
}

// Scripts with a real API server: $KUBE is its URL, $TOKEN the file of the
// token of the account that images/kubernetes describes, applied there.
func TestKubeScripts(t *testing.T) {
	kube := kubetest.Start(t)
	applyManifests(t, kube)
	storeScripts(t, "testdata/kube", map[string]string{"KUBE": kube.URL, "CA": kube.CA, "TOKEN": kube.Token(kubetest.Account)})
}

func storeScripts(t *testing.T, dir string, env map[string]string) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			for name, value := range env {
				e.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"kms": kmsCommand, "damage": damageCommand},
	})
}

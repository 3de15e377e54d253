package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"latchkey/internal/kube"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/kairos"
)

// A cluster is the SealedVolumes and Secrets of a namespace, as Kairos'
// operator has them. The KMS follows them, and changes none.
type cluster struct {
	client    *kube.Client
	namespace string
	write     config.WriteBack // what is written back, if anything
	log       *slog.Logger
	dirty     chan struct{} // something has changed

	mu               sync.Mutex
	volumes, secrets map[string]json.RawMessage // nil until they were listed
}

// settle is how long changes gather before they are taken.
const settle = 100 * time.Millisecond

// followCluster runs until ctx ends, if the store is a cluster's and the
// nodes of Kairos are served.
func followCluster(ctx context.Context, c *config.Config, p config.Place, s *server.Server, log *slog.Logger) {
	if p.Kind != config.Kube || !c.Listen.Speak(config.Kairos) {
		return
	}

	client, err := home.Cluster(p)
	if err != nil {
		log.Error("watching SealedVolumes", "err", err)
		return
	}
	defer client.Close()
	ctx = ledger.As(ctx, "cluster "+p.String())
	k := &cluster{client: client, namespace: p.Namespace, write: c.Store.WriteBack, log: log, dirty: make(chan struct{}, 1)}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		k.follow(ctx, sealedVolumesPath(k.namespace), url.Values{}, &k.volumes)
	})

	group.Go(func() {
		k.follow(ctx, secretsPath(k.namespace), url.Values{"fieldSelector": {"type!=latchkey.dev/rows"}}, &k.secrets)
	})
	k.sync(ctx, s)
}

// follow keeps one of the lists until ctx ends.
func (k *cluster) follow(ctx context.Context, path string, query url.Values, list *map[string]json.RawMessage) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		start := time.Now()
		err := k.client.Follow(ctx, path, query, func(objects map[string]json.RawMessage) {
			k.mu.Lock()
			*list = maps.Clone(objects)
			k.mu.Unlock()
			select {
			case k.dirty <- struct{}{}:
			default:
			}
		})

		if ctx.Err() != nil {
			return
		}
		if time.Since(start) > time.Minute {
			wait = time.Second
		}
		if kube.CodeOf(err) == http.StatusNotFound {
			err = fmt.Errorf("this cluster has no SealedVolumes (keyserver.kairos.io/v1alpha1): see images/kubernetes/crd.yaml")
		}

		k.log.Warn("watching the documents of the cluster", "err", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// sync takes what has changed until ctx ends. What could not be written is
// tried again.
func (k *cluster) sync(ctx context.Context, s *server.Server) {
	var again <-chan time.Time
	if k.write != "" {
		tick := time.NewTicker(writeEvery)
		defer tick.Stop()
		again = tick.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			k.writeBack(ctx, s)
			continue
		case <-k.dirty:
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}

		d := k.documents()
		if d == nil {
			continue
		}

		done, err := s.Kairos.Sync(ctx, d)
		d.Wipe()
		for _, a := range done {
			k.log.Info("applied a document of the cluster", "kind", a.Kind, "name", a.Name, "action", a.Action)
		}
		if err != nil && ctx.Err() == nil {
			k.log.Warn("applying the documents of the cluster", "err", err)
			time.AfterFunc(10*time.Second, func() {
				select {
				case k.dirty <- struct{}{}:
				default:
				}
			})
		}
	}
}

// documents are the SealedVolumes, and the Secrets that they name; nil until
// both were listed. One that is wrong is left out, and said.
func (k *cluster) documents() *kairos.Documents {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.volumes == nil || k.secrets == nil {
		return nil
	}

	all := &kairos.Documents{}
	for _, name := range slices.Sorted(maps.Keys(k.volumes)) {
		k.add(all, "keyserver.kairos.io/v1alpha1", "SealedVolume", name, k.volumes[name])
	}
	wanted := map[string]bool{}
	for _, v := range all.Volumes {
		for _, p := range v.Partitions {
			if p.Secret != "" {
				wanted[p.Secret] = true
			} else {
				wanted[kairos.DefaultSecret(v.Name, p.Label)] = true
			}
		}
	}

	for name := range wanted {
		if object, there := k.secrets[name]; there {
			k.add(all, "v1", "Secret", name, object)
		}
	}

	return all
}

// add reads one object as a document of a file would be read; lists leave
// out its kind.
func (k *cluster) add(all *kairos.Documents, version, kind, name string, object json.RawMessage) {
	fields := map[string]json.RawMessage{}
	json.Unmarshal(object, &fields) // it was JSON when its name was read
	document := map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]string{"name": name}}
	for _, key := range []string{"spec", "data"} {
		if fields[key] != nil {
			document[key] = fields[key]
		}
	}

	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(document); err != nil {
		k.log.Warn("ignoring an invalid document of the cluster", "kind", kind, "name", name, "err", err)
		return
	}
	defer clear(text.Bytes())
	d, err := kairos.ParseDocuments(text.Bytes())
	if err != nil {
		k.log.Warn("ignoring an invalid document of the cluster", "kind", kind, "name", name, "err", err)
		return
	}

	all.Volumes, all.Secrets = append(all.Volumes, d.Volumes...), append(all.Secrets, d.Secrets...)
}

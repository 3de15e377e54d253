package daemon

import (
	"context"
	"net/http"
	"time"

	"latchkey/internal/kube"
	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/server/kairos"
)

// writeEvery is how often a server looks for what the cluster does not have
// yet: in its own memory, so it costs nothing there.
const writeEvery = 5 * time.Second

// writeBack creates what Kairos' operator would create. What is there is
// never changed; another server may be quicker.
func (k *cluster) writeBack(ctx context.Context, s *server.Server) {
	d, err := s.Kairos.Documents(k.write == config.WriteSecrets)
	if err != nil {
		k.log.Warn("writing to the cluster", "err", err)
		return
	}
	defer d.Wipe()
	k.mu.Lock()
	volumes, secrets := k.volumes, k.secrets
	k.mu.Unlock()
	if volumes == nil || secrets == nil {
		return
	}

	for _, v := range d.Volumes {
		if _, there := volumes[v.Name]; !there {
			k.create(ctx, "SealedVolume", v.Name, sealedVolumesPath(k.namespace), volumeObject(v))
		}
	}

	for _, one := range d.Secrets {
		if _, there := secrets[one.Name]; there {
			continue
		}
		data := map[string][]byte{}
		for key, value := range one.Data {
			data[key] = value.Reveal()
		}
		k.create(ctx, "Secret", one.Name, secretsPath(k.namespace), map[string]any{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": one.Name}, "data": data,
		})
	}
}

func (k *cluster) create(ctx context.Context, kind, name, path string, object any) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := k.client.Do(ctx, http.MethodPost, path, nil, object, nil)
	if kube.CodeOf(err) == http.StatusConflict {
		return
	}
	if err != nil {
		k.log.Warn("writing to the cluster", "kind", kind, "name", name, "err", err)
		return
	}
	k.log.Info("wrote to the cluster", "kind", kind, "name", name)
}

func sealedVolumesPath(namespace string) string {
	return "/apis/keyserver.kairos.io/v1alpha1/namespaces/" + namespace + "/sealedvolumes"
}

func secretsPath(namespace string) string { return "/api/v1/namespaces/" + namespace + "/secrets" }

// volumeObject is a SealedVolume as the CRD has it.
func volumeObject(v kairos.SealedVolume) map[string]any {
	var partitions []any
	for _, p := range v.Partitions {
		one := map[string]any{}
		for field, value := range map[string]string{"label": p.Label, "deviceName": p.Device, "uuid": p.UUID} {
			if value != "" {
				one[field] = value
			}
		}

		named := map[string]string{}
		if p.Secret != "" {
			named["name"] = p.Secret
		}
		if p.Key != "" {
			named["path"] = p.Key
		}

		if len(named) > 0 {
			one["secret"] = named
		}
		partitions = append(partitions, one)
	}
	return map[string]any{
		"apiVersion": "keyserver.kairos.io/v1alpha1", "kind": "SealedVolume", "metadata": map[string]any{"name": v.Name},
		"spec": map[string]any{"TPMHash": v.Hash.String(), "partitions": partitions, "quarantined": v.Quarantined},
	}
}

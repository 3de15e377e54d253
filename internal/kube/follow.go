package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// listPage is how many objects are listed at once.
const listPage = 200

// Follow lists objects, by name, and keeps the list as it changes, until it
// breaks. changed is called with all of them, at first and after each
// change; it must not keep the map.
func (c *Client) Follow(ctx context.Context, path string, query url.Values, changed func(map[string]json.RawMessage)) error {
	objects, version, err := c.list(ctx, path, query)
	if err != nil {
		return err
	}

	changed(objects)
	watched := url.Values{"resourceVersion": {version}}
	for key, values := range query {
		watched[key] = values
	}

	return c.Watch(ctx, path, watched, func(kind string, object json.RawMessage) error {
		name, err := nameOf(object)
		if err != nil {
			return err
		}
		if objects[name] = append(json.RawMessage(nil), object...); kind == "DELETED" {
			delete(objects, name)
		}
		changed(objects)
		return nil
	})
}

// list reads all pages, which are of one moment.
func (c *Client) list(ctx context.Context, path string, query url.Values) (map[string]json.RawMessage, string, error) {
	objects := map[string]json.RawMessage{}
	paged := url.Values{"limit": {fmt.Sprint(listPage)}}
	for key, values := range query {
		paged[key] = values
	}

	for {
		page, cancel := context.WithTimeout(ctx, 30*time.Second)
		var list struct {
			Metadata struct{ Continue, ResourceVersion string }
			Items    []json.RawMessage
		}
		err := c.Do(page, http.MethodGet, path, paged, nil, &list)
		cancel()
		if err != nil {
			return nil, "", err
		}

		for _, item := range list.Items {
			name, err := nameOf(item)
			if err != nil {
				return nil, "", err
			}
			objects[name] = item
		}

		if list.Metadata.Continue == "" {
			return objects, list.Metadata.ResourceVersion, nil
		}
		paged.Set("continue", list.Metadata.Continue)
	}
}

func nameOf(object json.RawMessage) (string, error) {
	var o struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(object, &o); err != nil || o.Metadata.Name == "" {
		return "", fmt.Errorf("reading an object of the cluster: it has no name")
	}
	return o.Metadata.Name, nil
}

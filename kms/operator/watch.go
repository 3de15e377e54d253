package operator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"latchkey/kms/server/lk1"
)

// Watch tells of each node that waits for the operator, or comes to wait,
// until ctx ends, tell fails, or the server ends.
func (c *Client) Watch(ctx context.Context, tell func(lk1.Node) error) error {
	if !c.Live {
		return errors.New("watching: no server runs here")
	}
	reply, err := c.send(ctx, "GET", "/v1/nodes/watch", nil, http.NoBody)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return decodeReply(reply, nil)
	}

	lines := bufio.NewReader(reply.Body)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return errors.New("watching: the server ended the watch")
		}
		if err != nil {
			return fmt.Errorf("watching: %w", err)
		}

		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var n lk1.Node
		if err := json.Unmarshal([]byte(data), &n); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		if err := tell(n); err != nil {
			return err
		}
	}
}

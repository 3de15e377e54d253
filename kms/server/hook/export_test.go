package hook

import (
	"context"
	"encoding/json"
)

// Deliver tells a target once.
func Deliver(ctx context.Context, t Target, n Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return t.deliver(ctx, message{n, body})
}

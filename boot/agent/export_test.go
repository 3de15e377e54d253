package agent

import (
	"context"

	"latchkey/internal/secret"
)

// Take is what all who answer do.
func (a *Agent) Take(ctx context.Context, asked string) (secret.Bytes, func(bool), error) {
	return a.keys.take(ctx, asked)
}

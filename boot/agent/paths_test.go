package agent_test

import (
	"strings"
	"testing"

	"latchkey/boot/boottest"
)

// TestPaths: a disk with several paths has a key, and the early boot's own
// multipathd makes one disk of them.
func TestPaths(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) {
		m.Disks = append(m.Disks, m.Disks[0].PathTo("vdb", "36001405a"))
	}, func(b *boot) {
		b.want("root", boottest.Key)
		if strings.Contains(b.log(), "map paths") {
			b.Errorf("the agent has mapped a disk:\n%s", b.log())
		}
	})
}

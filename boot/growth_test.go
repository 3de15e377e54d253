package boot_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
)

// A growth is what more servers or volumes may cost, beside a boot with one
// of each.
type growth struct {
	name   string
	change func(*boottest.Machine)
	more   time.Duration // at most
	asked  int           // how often servers were asked
}

func others(n int, state string) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		m.KMS.Others = map[string]string{}
		live := m.Plan.Find.URLs[0]
		m.Plan.Find.URLs = nil
		for i := range n {
			url := fmt.Sprintf("http://192.0.2.%d:7741", i+2)
			m.Plan.Find.URLs, m.KMS.Others[url] = append(m.Plan.Find.URLs, url), state
		}
		m.Plan.Find.URLs = append(m.Plan.Find.URLs, live)
	}
}

// TestGrowth: what is dead or forged costs the one that lives no time, and
// volumes are asked for in one exchange, however many they are. Time is
// virtual, so nothing of it is the machine's that runs the test.
func TestGrowth(t *testing.T) {
	alone, asked := took(t, nil)
	if asked != 1 {
		t.Fatalf("one server was asked %d times, want once", asked)
	}
	for _, g := range []growth{
		{"five dead servers before the one that lives", others(5, "dead"), 3 * time.Second, 6},
		{"fifteen dead servers", others(15, "dead"), 3 * time.Second, 16},
		{"fifteen forged servers", others(15, "wrong pin"), 300 * time.Millisecond, 16},
		{"sixteen volumes", volumes(16), 300 * time.Millisecond, 1},
	} {
		t.Run(g.name, func(t *testing.T) {
			d, asked := took(t, g.change)
			if d > alone+g.more || asked > g.asked {
				t.Errorf("took %s with %d questions; one server and one volume take %s: want %s more at most, and %d questions", d, asked, alone, g.more, g.asked)
			}
		})
	}
}

// volumes gives the machine so many: the root and others of the same kind.
func volumes(n int) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		for i := range n - 1 {
			uuid := fmt.Sprintf("%s%02x", boottest.DataUUID[:34], i)
			m.Disks = append(m.Disks, boottest.VolumeDisk(fmt.Sprintf("vd%c", 'c'+i), uuid))
			m.KMS.Keys[uuid] = boottest.Key
			m.Plan.Volumes = append(m.Plan.Volumes, plan.Volume{UUID: uuid, Name: fmt.Sprintf("data%d", i), Sources: []string{"kms"}})
		}
	}
}

// took boots and returns the virtual time until the real root.
func took(t *testing.T, change func(*boottest.Machine)) (d time.Duration, asked int) {
	synctest.Test(t, func(t *testing.T) {
		m := boottest.New("kms")
		defer m.End()
		if change != nil {
			change(m)
		}
		began := time.Now()
		if o, ok := m.Boot(time.Hour); !ok || o.Root == "" {
			t.Fatalf("ended with %q, want the real root:\n%s", o, strings.Join(m.Log(), "\n"))
		}
		d, asked = time.Since(began), m.KMS.Asked
	})
	return d, asked
}

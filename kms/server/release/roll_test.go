package release_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"latchkey/kms/server/policy"
	"latchkey/kms/server/release"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func places(n int) (list []uint64) {
	for i := range n {
		list = append(list, release.Place("2026.12", binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	return list
}

func options() release.Options {
	return release.Options{Group: "site=berlin", Canary: 5, Within: policy.Duration(2 * time.Hour), Failures: 10}
}

// Waves grow fivefold, hold at least one machine, and the last holds all,
// those that joined later too.
func TestWaves(t *testing.T) {
	for _, row := range []struct {
		machines, canary int
		want             []int
	}{{100, 5, []int{5, 25, 100}}, {1, 5, []int{1}}, {3, 5, []int{1, 3}}, {10, 5, []int{1, 3, 10}}, {10, 100, []int{10}}, {1000, 1, []int{10, 50, 250, 1000}}} {
		o := options()
		o.Canary = row.canary
		all := places(row.machines)
		r, err := release.NewRoll(o, all, now)
		if err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for i, w := range r.Waves {
			r.Wave = i
			admitted := 0
			for _, p := range all {
				if r.Admits(p) {
					admitted++
				}
			}
			if admitted != w.Size {
				t.Errorf("%d machines, wave %d admits %d, want %d", row.machines, i, admitted, w.Size)
			}
			sizes = append(sizes, w.Size)
		}
		if len(sizes) != len(row.want) {
			t.Errorf("%d machines, canary %d%%: waves of %v, want %v", row.machines, row.canary, sizes, row.want)
		}
		if r.Wave = len(r.Waves) - 1; !r.Admits(1<<53 - 1) {
			t.Errorf("%d machines: the last wave does not admit one that joined later", row.machines)
		}
	}
}

// Each row is a roll of 100 machines, in waves of 5, 25 and 100.
func TestStep(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*release.Roll)
		after  time.Duration
		did    string // what Step says begins so
		state  release.State
		wave   int
	}{
		{"nothing happened yet", func(*release.Roll) {}, time.Hour, "", release.Rolling, 0},
		{"some came", func(r *release.Roll) { r.Came = 4 }, time.Hour, "", release.Rolling, 0},
		{"all canaries came", func(r *release.Roll) { r.Came = 5 }, time.Hour, "wave 2 of 3: 25 machines", release.Rolling, 1},
		{"enough of the second wave came", func(r *release.Roll) { r.Wave, r.Came = 1, 23 }, time.Hour, "wave 3 of 3", release.Rolling, 2},
		{"one fewer than enough", func(r *release.Roll) { r.Wave, r.Came = 1, 22 }, time.Hour, "", release.Rolling, 1},
		{"enough of all came", func(r *release.Roll) { r.Wave, r.Came = 2, 90 }, time.Hour, "done", release.Done, 2},
		{"a canary failed", func(r *release.Roll) { r.Came, r.Failed = 4, 1 }, time.Minute, "stopped: 1 of 5 machines booted it", release.Stopped, 0},
		{"some may fail", func(r *release.Roll) { r.Wave, r.Came, r.Failed = 1, 20, 2 }, time.Minute, "", release.Rolling, 1},
		{"one more failed", func(r *release.Roll) { r.Wave, r.Came, r.Failed = 1, 20, 3 }, time.Minute, "stopped", release.Stopped, 1},
		{"failures go before those that came", func(r *release.Roll) { r.Wave, r.Came, r.Failed = 2, 100, 11 }, time.Minute, "stopped", release.Stopped, 2},
		{"the time is up", func(r *release.Roll) { r.Came = 4 }, 2 * time.Hour, "stopped: 4 of 5 machines came back within 2h", release.Stopped, 0},
		{"the time is up, but enough came", func(r *release.Roll) { r.Came = 5 }, 3 * time.Hour, "wave 2", release.Rolling, 1},
		{"stopped stays so", func(r *release.Roll) { r.State, r.Came = release.Stopped, 5 }, time.Hour, "", release.Stopped, 0},
		{"done stays so", func(r *release.Roll) { r.State, r.Failed = release.Done, 99 }, time.Hour, "", release.Done, 0},
	} {
		r, err := release.NewRoll(options(), places(100), now)
		if err != nil {
			t.Fatal(err)
		}
		row.change(&r)
		did := r.Step(now.Add(row.after))
		if !strings.HasPrefix(did, row.did) || row.did == "" && did != "" || r.State != row.state || r.Wave != row.wave {
			t.Errorf("%s: Step says %q and is %s in wave %d, want %q, %s, %d", row.name, did, r.State, r.Wave, row.did, row.state, row.wave)
		}
	}
}

// A new wave has its whole time.
func TestWaveHasItsTime(t *testing.T) {
	r, err := release.NewRoll(options(), places(100), now)
	if err != nil {
		t.Fatal(err)
	}
	r.Came = 5
	r.Step(now.Add(119 * time.Minute))
	if did := r.Step(now.Add(3 * time.Hour)); did != "" {
		t.Errorf("an hour after its second wave was opened: %q", did)
	}
}

func TestStopAndResume(t *testing.T) {
	r, err := release.NewRoll(options(), places(100), now)
	if err != nil {
		t.Fatal(err)
	}
	first := r.Waves[0].Place
	if err := r.Resume(now); err == nil {
		t.Error("a roll that was not stopped was resumed")
	}
	if err := r.Stop("by hand"); err != nil || r.Admits(first) {
		t.Errorf("Stop = %v, and it admits a canary: %t", err, r.Admits(first))
	}
	if err := r.Stop("again"); err == nil {
		t.Error("a roll was stopped twice")
	}
	r.Failed = 3
	if err := r.Resume(now.Add(time.Hour)); err != nil || !r.Admits(first) || r.Step(now.Add(2*time.Hour)) != "" {
		t.Errorf("Resume = %v, then it is %s", err, r.Progress())
	}
}

func TestRollRefuses(t *testing.T) {
	for name, change := range map[string]func(*release.Options){
		"no canary":         func(o *release.Options) { o.Canary = 0 },
		"more than all":     func(o *release.Options) { o.Canary = 101 },
		"all may fail":      func(o *release.Options) { o.Failures = 100 },
		"less than nothing": func(o *release.Options) { o.Failures = -1 },
		"no time":           func(o *release.Options) { o.Within = policy.Duration(time.Second) },
	} {
		o := options()
		change(&o)
		if _, err := release.NewRoll(o, places(3), now); err == nil {
			t.Errorf("%s: it rolls", name)
		}
	}
	if _, err := release.NewRoll(options(), nil, now); err == nil || !strings.Contains(err.Error(), "no approved machine") {
		t.Errorf("an empty group: %v", err)
	}
}

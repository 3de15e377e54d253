package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/kms/server/metrics"
)

func scraped(sets ...*metrics.Set) (int, string) {
	w := httptest.NewRecorder()
	metrics.Handler(sets...).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Code, w.Body.String()
}

func TestHandler(t *testing.T) {
	var s, other metrics.Set
	c := s.Counter("requests_total", "Requests.", "protocol", "result")
	c.Inc("lk1", "ok")
	c.Inc("kairos", "a \"b\"\\\n")
	c.Inc("lk1", "ok")
	h := s.Histogram("seconds", "Time.", []float64{.1, 1}, "protocol")
	for _, v := range []float64{.05, .1, .2, 30} {
		h.Observe(v, "lk1")
	}

	s.Histogram("writes", "Time, without labels.", []float64{1}).Observe(2)
	s.Gauge("up", "Up.", func(set func(float64, ...string)) { set(1) })
	other.Gauge("pending", "Waiting.", func(set func(float64, ...string)) { set(3, "lk1"); set(0, "talos") }, "protocol")
	status, got := scraped(&s, &other)

	want := `# HELP pending Waiting.
# TYPE pending gauge
pending{protocol="lk1"} 3
pending{protocol="talos"} 0
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{protocol="kairos",result="a \"b\"\\\n"} 1
requests_total{protocol="lk1",result="ok"} 2
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{protocol="lk1",le="0.1"} 2
seconds_bucket{protocol="lk1",le="1"} 3
seconds_bucket{protocol="lk1",le="+Inf"} 4
seconds_sum{protocol="lk1"} 30.35
seconds_count{protocol="lk1"} 4
# HELP up Up.
# TYPE up gauge
up 1
# HELP writes Time, without labels.
# TYPE writes histogram
writes_bucket{le="1"} 0
writes_bucket{le="+Inf"} 1
writes_sum 2
writes_count 1
`
	if diff := cmp.Diff(want, got); diff != "" || status != 200 {
		t.Errorf("Handler: %d (-want +got):\n%s", status, diff)
	}
}

// One gauge that says a thing twice takes nothing from the others.
func TestOneBadMetric(t *testing.T) {
	var s metrics.Set
	s.Gauge("bad", "Says it twice.", func(set func(float64, ...string)) { set(1, "a"); set(2, "a") }, "what")
	s.Gauge("few", "Lacks a label.", func(set func(float64, ...string)) { set(1) }, "what")
	s.Gauge("good", "Good.", func(set func(float64, ...string)) { set(1) })
	if status, got := scraped(&s); status != 200 || !strings.Contains(got, "\ngood 1\n") {
		t.Errorf("Handler: %d\n%s", status, got)
	}
}

func TestProcess(t *testing.T) {
	var s metrics.Set
	s.Process()
	status, got := scraped(&s)
	for _, want := range []string{"go_goroutines ", "go_memstats_heap_inuse_bytes ", "process_resident_memory_bytes ", "process_open_fds ", "go_build_info{", "latchkey_build_info{version="} {
		if status != 200 || !strings.Contains(got, "\n"+want) {
			t.Errorf("Handler: %d, without %s", status, want)
		}
	}
}

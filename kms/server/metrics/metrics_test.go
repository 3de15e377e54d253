package metrics_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/kms/server/metrics"
)

func TestWriteTo(t *testing.T) {
	var s metrics.Set
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
	s.Gauge("pending", "Waiting.", func(set func(float64, ...string)) { set(3, "lk1"); set(0, "talos") }, "protocol")
	var out strings.Builder
	n, err := s.WriteTo(&out)
	if err != nil || n != int64(out.Len()) {
		t.Errorf("WriteTo = %d, %v, want %d", n, err, out.Len())
	}

	want := `# HELP requests_total Requests.
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
# HELP writes Time, without labels.
# TYPE writes histogram
writes_bucket{le="1"} 0
writes_bucket{le="+Inf"} 1
writes_sum 2
writes_count 1
# HELP up Up.
# TYPE up gauge
up 1
# HELP pending Waiting.
# TYPE pending gauge
pending{protocol="lk1"} 3
pending{protocol="talos"} 0
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("WriteTo (-want +got):\n%s", diff)
	}
}

// Package metrics counts by Prometheus' client library: counters, histograms,
// and gauges that are read when they are asked for.
package metrics

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"latchkey/internal/version"
)

// A Set is metrics. Its zero value is empty.
type Set struct {
	once sync.Once
	reg  *prometheus.Registry
}

func (s *Set) registry() *prometheus.Registry {
	s.once.Do(func() { s.reg = prometheus.NewRegistry() })
	return s.reg
}

// Process adds what is known of the process, of Go's runtime and of how the
// program was built.
func (s *Set) Process() {
	s.registry().MustRegister(
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
	)
	s.Gauge("latchkey_build_info", "1, by the version of latchkey.", func(set func(float64, ...string)) { set(1, version.String()) }, "version")
}

// Handler answers Prometheus with the metrics of some sets. What cannot be
// had leaves the rest as it is.
func Handler(sets ...*Set) http.Handler {
	var all prometheus.Gatherers
	for _, s := range sets {
		all = append(all, s.registry())
	}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// A Counter only rises.
type Counter struct{ vec *prometheus.CounterVec }

// Counter makes a counter with these labels. Label values must be few.
func (s *Set) Counter(name, help string, labels ...string) *Counter {
	c := &Counter{prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)}
	s.registry().MustRegister(c.vec)
	return c
}

// Inc adds one for these label values.
func (c *Counter) Inc(values ...string) { c.vec.WithLabelValues(values...).Inc() }

// A Histogram counts observations by size.
type Histogram struct{ vec *prometheus.HistogramVec }

// Seconds are bounds for what takes from half a millisecond to half a
// minute.
var Seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Histogram makes a histogram with these bounds and labels.
func (s *Set) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	h := &Histogram{prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds}, labels)}
	s.registry().MustRegister(h.vec)
	return h
}

// Observe counts one observation for these label values.
func (h *Histogram) Observe(v float64, values ...string) { h.vec.WithLabelValues(values...).Observe(v) }

// A gauge is read when it is asked for.
type gauge struct {
	is   *prometheus.Desc
	read func(set func(value float64, values ...string))
}

// Gauge makes a gauge: read calls set for each combination of label values
// that there is now.
func (s *Set) Gauge(name, help string, read func(set func(value float64, values ...string)), labels ...string) {
	s.registry().MustRegister(&gauge{prometheus.NewDesc(name, help, labels, nil), read})
}

// Describe implements prometheus.Collector.
func (g *gauge) Describe(to chan<- *prometheus.Desc) { to <- g.is }

// Collect implements prometheus.Collector.
func (g *gauge) Collect(to chan<- prometheus.Metric) {
	g.read(func(value float64, values ...string) {
		m, err := prometheus.NewConstMetric(g.is, prometheus.GaugeValue, value, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(g.is, err)
		}
		to <- m
	})
}

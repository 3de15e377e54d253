// Package metrics counts, and writes what it counted in the text format of
// Prometheus (version 0.0.4). It is all that a key server needs of one:
// counters, histograms, and gauges that are read when they are asked for.
package metrics

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Set is metrics, written in the order in which they were made.
type Set struct {
	mu  sync.Mutex
	all []family
}

type family interface{ write(w *bufio.Writer) }

// ContentType goes with what WriteTo writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// WriteTo writes all metrics.
func (s *Set) WriteTo(w io.Writer) (int64, error) {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	counting := &counter{w: w}
	b := bufio.NewWriter(counting)
	for _, f := range all {
		f.write(b)
	}
	err := b.Flush()
	return counting.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (s *Set) add(f family) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, f)
}

// A head is what all kinds have.
type head struct {
	name, help, kind string
	labels           []string
}

func (h *head) writeHead(w *bufio.Writer) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", h.name, h.help, h.name, h.kind)
}

// key is one combination of label values as it is written.
func (h *head) key(values []string) string {
	if len(values) != len(h.labels) {
		panic("metrics: " + h.name + " has other labels") // ours, not anybody's input
	}
	pairs := make([]string, len(values))
	for i, v := range values {
		pairs[i] = h.labels[i] + `="` + escaper.Replace(v) + `"`
	}
	return strings.Join(pairs, ",")
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func braced(labels string) string {
	if labels == "" {
		return ""
	}
	return "{" + labels + "}"
}

// A Counter only rises.
type Counter struct {
	head
	mu     sync.Mutex
	values map[string]uint64
}

// Counter makes a counter with these labels. Label values must be few.
func (s *Set) Counter(name, help string, labels ...string) *Counter {
	c := &Counter{head: head{name, help, "counter", labels}, values: map[string]uint64{}}
	s.add(c)
	return c
}

// Inc adds one for these label values.
func (c *Counter) Inc(values ...string) {
	key := c.key(values)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[key]++
}

func (c *Counter) write(w *bufio.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeHead(w)
	for _, key := range slices.Sorted(maps.Keys(c.values)) {
		fmt.Fprintf(w, "%s%s %d\n", c.name, braced(key), c.values[key])
	}
}

// A Histogram counts observations by size.
type Histogram struct {
	head
	bounds []float64 // ascending
	mu     sync.Mutex
	values map[string]*distribution
}

type distribution struct {
	counts []uint64 // by bound, and one for what is beyond the last
	sum    float64
}

// Seconds are bounds for what takes from half a millisecond to half a
// minute.
var Seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Histogram makes a histogram with these bounds and labels.
func (s *Set) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	h := &Histogram{head: head{name, help, "histogram", labels}, bounds: bounds, values: map[string]*distribution{}}
	s.add(h)
	return h
}

// Observe counts one observation for these label values.
func (h *Histogram) Observe(v float64, values ...string) {
	key := h.key(values)
	i, _ := slices.BinarySearch(h.bounds, v)
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.values[key]
	if d == nil {
		d = &distribution{counts: make([]uint64, len(h.bounds)+1)}
		h.values[key] = d
	}
	d.counts[i]++
	d.sum += v
}

func (h *Histogram) write(w *bufio.Writer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writeHead(w)
	for _, key := range slices.Sorted(maps.Keys(h.values)) {
		d, comma := h.values[key], ","
		if key == "" {
			comma = ""
		}
		var n uint64

		for i, count := range d.counts {
			n += count
			bound := math.Inf(1)
			if i < len(h.bounds) {
				bound = h.bounds[i]
			}
			fmt.Fprintf(w, "%s_bucket{%s%sle=%q} %d\n", h.name, key, comma, number(bound), n)
		}

		fmt.Fprintf(w, "%s_sum%s %s\n%s_count%s %d\n", h.name, braced(key), number(d.sum), h.name, braced(key), n)
	}
}

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// A gauge is read when it is asked for.
type gauge struct {
	head
	read func(set func(value float64, values ...string))
}

// Gauge makes a gauge: read calls set for each combination of label values
// that there is now.
func (s *Set) Gauge(name, help string, read func(set func(value float64, values ...string)), labels ...string) {
	s.add(&gauge{head{name, help, "gauge", labels}, read})
}

func (g *gauge) write(w *bufio.Writer) {
	g.writeHead(w)
	g.read(func(value float64, values ...string) {
		fmt.Fprintf(w, "%s%s %s\n", g.name, braced(g.key(values)), number(value))
	})
}

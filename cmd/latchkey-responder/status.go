package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"latchkey/discover"
	"latchkey/internal/cli"
)

// A report is what /status answers.
type report struct {
	Started   time.Time      `json:"started"`
	Stats     discover.Stats `json:"stats"`
	Announced []announced    `json:"announced"`
	Targets   []targetReport `json:"targets"`
	Problem   string         `json:"problem,omitempty"` // why there are no targets
}

type announced struct {
	Host     string       `json:"host"`
	Instance string       `json:"instance"`
	Port     uint16       `json:"port"`
	Services []string     `json:"services"`
	Addrs    []netip.Addr `json:"addresses"`
}

type targetReport struct {
	Target  string    `json:"target"` // ADDRESS:PORT, or :PORT on this machine
	Alive   bool      `json:"alive"`
	Checked time.Time `json:"checked,omitzero"`
	Error   string    `json:"error,omitempty"`
}

// report is the state now.
func (s *service) report() report {
	s.mu.Lock()
	r := report{Started: s.started, Stats: s.r.Stats(), Problem: s.why}
	s.mu.Unlock()
	for _, a := range s.r.Announcements() {
		r.Announced = append(r.Announced, announced{a.Host, a.Instance, a.Port, a.Services, a.Addrs})
	}
	s.health.mu.Lock()
	defer s.health.mu.Unlock()

	for addr, st := range s.health.states {
		t := targetReport{Target: text(addr), Alive: st.alive, Checked: st.checked}
		if st.err != nil {
			t.Error = st.err.Error()
		}
		r.Targets = append(r.Targets, t)
	}

	slices.SortFunc(r.Targets, func(a, b targetReport) int { return strings.Compare(a.Target, b.Target) })
	return r
}

// serve answers /metrics, /status and /healthz until ctx ends.
func (s *service) serve(ctx context.Context, fail context.CancelCauseFunc) error {
	listener, err := net.Listen("tcp", s.o.listen)
	if err != nil {
		return fmt.Errorf("listening for --listen: %w", err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.report())
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { s.report().metrics(w) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 8 << 10}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		if err := server.Serve(listener); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("serving --listen: %w", err))
		}
	}()

	s.log.Info("serving /metrics, /status and /healthz", "address", listener.Addr().String())
	return nil
}

// metrics writes the report in Prometheus' text format.
func (r report) metrics(w io.Writer) {
	for _, m := range []struct {
		name, kind, help string
		value            int64
	}{
		{"latchkey_responder_queries_total", "counter", "mDNS queries heard", r.Stats.Queries},
		{"latchkey_responder_answers_total", "counter", "mDNS answers, announcements and goodbyes sent", r.Stats.Answers},
		{"latchkey_responder_conflicts_total", "counter", "names changed because another machine had them", r.Stats.Conflicts},
		{"latchkey_responder_challenges_total", "counter", "records of other machines that contradicted ours", r.Stats.Challenges},
		{"latchkey_responder_limited_total", "counter", "mDNS queries of one address beyond what it is answered alone", r.Stats.Limited},
		{"latchkey_responder_links", "gauge", "links answered on", int64(r.Stats.Links)},
		{"latchkey_responder_announced", "gauge", "key servers announced now", int64(len(r.Announced))},
	} {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", m.name, m.help, m.name, m.kind, m.name, m.value)
	}

	const up = "latchkey_responder_target_up"
	fmt.Fprintf(w, "# HELP %s whether the target answers\n# TYPE %s gauge\n", up, up)
	for _, t := range r.Targets {
		fmt.Fprintf(w, "%s{target=%q} %d\n", up, t.Target, map[bool]int{true: 1}[t.Alive])
	}
}

func statusCommand(stdout io.Writer) *cobra.Command {
	var address string
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "Show what a running responder announces", Args: cli.Args(cobra.NoArgs),
		Long: `Asks a responder that was started with --listen what it announces, which of its
targets are up, and how much it has sent. Exits 1 if nothing is announced, and
says why.`,
		RunE: func(c *cobra.Command, _ []string) error { return showStatus(c.Context(), stdout, address, asJSON) },
	}
	c.Flags().StringVar(&address, "address", defaultListen, "the responder's --listen")
	c.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

func showStatus(ctx context.Context, w io.Writer, address string, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		return cli.Usagef("--address %q is not an address such as %s", address, defaultListen)
	}

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the responder (was it started with --listen?): %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	var r report
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	if err != nil {
		return fmt.Errorf("reading the responder's report: %w", err)
	}

	if asJSON {
		_, err = w.Write(body)
	} else {
		err = r.table(w)
	}
	if err == nil && len(r.Announced) == 0 {
		err = errors.New("nothing is announced: no target is up")
		if r.Problem != "" {
			err = fmt.Errorf("nothing is announced: %s", r.Problem)
		}
	}

	return err
}

// table writes the report for people.
func (r report) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tINSTANCE\tPORT\tADDRESSES\tSERVICES")
	for _, a := range r.Announced {
		addrs := "each link's own"
		if len(a.Addrs) > 0 {
			addrs = strings.Trim(fmt.Sprint(a.Addrs), "[]")
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", a.Host, a.Instance, a.Port, addrs, strings.Join(a.Services, " "))
	}
	fmt.Fprintln(w, "\nTARGET\tSTATE\tCHECKED\tERROR")

	for _, t := range r.Targets {
		checked := "-"
		if !t.Checked.IsZero() {
			checked = time.Since(t.Checked).Round(time.Second).String() + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.Target, map[bool]string{true: "up", false: "down"}[t.Alive], checked, t.Error)
	}

	fmt.Fprintf(w, "\nSince %s: heard %d queries, sent %d messages, changed %d names, was challenged %d times; answering on %d links\n",
		r.Started.Format(time.DateTime), r.Stats.Queries, r.Stats.Answers, r.Stats.Conflicts, r.Stats.Challenges, r.Stats.Links)
	return w.Flush()
}

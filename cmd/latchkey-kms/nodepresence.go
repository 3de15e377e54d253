package main

import (
	"fmt"
	"io"
	"time"

	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
)

// seenOf is when the node was last seen: how long ago by its beats, if these
// are of the last hour.
func seenOf(n lk1.Node, now time.Time) string {
	if ago := now.Sub(n.Beat); n.Beat.After(n.Last) && ago < time.Hour {
		return beatAgo(ago)
	}
	return n.LastSeen().Local().Format("2006-01-02 15:04")
}

func beatAgo(ago time.Duration) string {
	if ago < 2*time.Minute {
		return fmt.Sprintf("%d s ago", max(0, ago)/time.Second)
	}
	return fmt.Sprintf("%d min ago", ago/time.Minute)
}

// printPresence says when a node that beats was seen, and what follows.
func printPresence(w io.Writer, n lk1.Node, now time.Time) {
	if !n.Beat.IsZero() {
		fmt.Fprintf(w, "last beat:   %s\n", beatOf(n, now))
	}
	if !n.Vanished.IsZero() {
		since := "not seen since"
		if n.Back {
			since = "seen again since"
		}
		fmt.Fprintf(w, "VANISHED:    %s, and was %s; node renew renews it\n", n.Vanished.Local().Format("2006-01-02 15:04"), since)
	}
	if n.MovedTo.IsValid() {
		fmt.Fprintf(w, "MOVED:       its network was %s\n", movedOf(n))
	}
}

func beatOf(n lk1.Node, now time.Time) string {
	if ago := now.Sub(n.Beat); ago < time.Hour {
		return beatAgo(ago)
	}
	return n.Beat.Local().Format("2006-01-02 15:04")
}

// movedOf are the node's network and the other one that it was seen in.
func movedOf(n lk1.Node) string {
	return n.Home.String() + ", and it was seen in " + n.MovedTo.String()
}

// printPresenceTerms prints the settings of presence.
func printPresenceTerms(line func(name string, value any), s policy.Settings) {
	if s.Presence != nil {
		line("presence", *s.Presence)
	}
	if s.Moved != "" {
		line("moved", s.Moved)
	}
}

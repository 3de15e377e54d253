// Command browser is a person at a real Chromium: it does what a file of
// steps says, a line each, and fails at the first that does not come true.
//
//	open URL
//	type SELECTOR TEXT
//	click SELECTOR
//	see TEXT            the page comes to have the text, without being loaded again
//	gone TEXT           it comes to have it no longer
//	words WORDS         its heading comes to be exactly these words
//	size WIDTH HEIGHT   of the window; light and dark are the schemes
//	light | dark
//	env NAME FILE       waits for a file, whose line is $NAME from then on
//	shot FILE           a picture of it
//	axe FILE            axe-core, from that file, finds nothing to complain of
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: browser STEPS SPKI: a file of steps, and the SHA-256 of the server's public key, in base64")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		os.Exit(1)
	}
}

// limit is how long one step may take: a loaded machine is slow.
const limit = 60 * time.Second

func run(file, spki string) error {
	steps, err := os.Open(file)
	if err != nil {
		return err
	}
	defer steps.Close()
	profile, err := os.MkdirTemp("", "browser")
	if err != nil {
		return err
	}
	defer os.RemoveAll(profile)

	alloc, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(chromium()), chromedp.UserDataDir(profile), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless,
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("ignore-certificate-errors-spki-list", spki), chromedp.WSURLReadTimeout(limit))
	defer stop()
	ctx, end := chromedp.NewContext(alloc)
	defer end()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil {
		return fmt.Errorf("starting Chromium: %w", err)
	}

	lines := bufio.NewScanner(steps)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(os.ExpandEnv(lines.Text()))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verb, rest, _ := strings.Cut(line, " ")
		if err := step(ctx, verb, rest); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", file, n, line, explain(ctx, err))
		}
	}
	return lines.Err()
}

// chromium is the program itself: its wrapper wants a desktop's variables.
func chromium() string {
	for _, path := range []string{"/usr/lib/chromium/chromium", "/usr/bin/chromium"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return "chromium"
}

func step(ctx context.Context, verb, rest string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	first, second, _ := strings.Cut(rest, " ")
	switch verb {
	case "open":
		return chromedp.Do(ctx, chromedp.Navigate(rest))
	case "type":
		return chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS(first), second))
	case "click":
		return chromedp.Do(ctx, chromedp.Click(chromedp.CSS(rest)))
	case "see":
		return until(ctx, fmt.Sprintf("document.body.innerText.includes(%q)", rest))
	case "gone":
		return until(ctx, fmt.Sprintf("!document.body.innerText.includes(%q)", rest))
	case "words":
		return until(ctx, fmt.Sprintf("document.querySelector('h1.words').innerText.trim().split(/\\s+/).join(' ') === %q", rest))
	case "size":
		var w, h int64
		if _, err := fmt.Sscan(rest, &w, &h); err != nil {
			return err
		}
		return chromedp.Do(ctx, chromedp.EmulateViewport(w, h))
	case "env":
		return waitFor(ctx, first, second)
	case "light", "dark":
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: verb}}})
		return err
	case "shot":
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			return err
		}
		return os.WriteFile(rest, png, 0o644)
	case "axe":
		return axe(ctx, rest)
	}
	return fmt.Errorf("there is no step %q", verb)
}

// until waits for something of the page to be so. While another page is
// loaded nothing can be asked.
func until(ctx context.Context, what string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](what)); err == nil && is {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// waitFor takes a variable from a file that somebody writes meanwhile.
func waitFor(ctx context.Context, name, file string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(file); err == nil {
			return os.Setenv(name, strings.TrimSpace(string(text)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// axe has axe-core look for what keeps people out: WCAG 2.2, levels A and AA.
func axe(ctx context.Context, file string) error {
	code, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](string(code)+";0")); err != nil {
		return fmt.Errorf("loading axe-core: %w", err)
	}
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
		.then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.target + " " + n.failureSummary).join("; ")))`, chromedp.EvalAwaitPromise))
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("axe-core found:\n  %s", strings.Join(found, "\n  "))
	}
	return err
}

// explain adds what the page shows.
func explain(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	at, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	return fmt.Errorf("%w; %s shows:\n%s", err, at, text)
}

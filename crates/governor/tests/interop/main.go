// Choria's governor (github.com/choria-io/go-choria, providers/governor/streams) as a program, so that tests and
// benchmarks meet the real one. One JSON document a line on stdout; errors of choria are data, others end it.
// It ends with its standard input, so it never outlives who started it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

type flags struct {
	url, governor, subject, collective, name string
	limit, seq                               uint64
	replicas                                 uint
	update                                   bool
	ttl, hold, interval, duration, timeout   time.Duration
	workers, turns, strict                   int
}

var modes = map[string]func(flags) error{
	"worker": work, "hold": hold, "storm": storm,
	"manager": manage, "view": view, "list": list, "evict": evict, "reset": reset, "limit": setLimit,
}

func main() {
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fail(fmt.Errorf("usage: choria-peer worker|hold|storm|manager|view|list|evict|reset|limit [flags]"))
	}
	var f flags
	set := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	set.StringVar(&f.url, "url", nats.DefaultURL, "server")
	set.StringVar(&f.governor, "governor", "", "name of the governor")
	set.StringVar(&f.subject, "subject", "", "its subject, if it is not the default one")
	set.StringVar(&f.collective, "collective", "choria", "list: governors of this collective")
	set.StringVar(&f.name, "name", "go", "what holders are called; workers get a number each")
	set.Uint64Var(&f.limit, "limit", 0, "manager, limit: number of slots; 0 = only look")
	set.DurationVar(&f.ttl, "ttl", 0, "manager: max age")
	set.UintVar(&f.replicas, "replicas", 1, "manager: replicas")
	set.BoolVar(&f.update, "update", false, "manager: change an existing governor")
	set.Uint64Var(&f.seq, "seq", 0, "evict: which")
	set.IntVar(&f.workers, "workers", 1, "worker: how many, each on a connection of its own")
	set.IntVar(&f.turns, "turns", 0, "worker, storm: turns of each; 0 = no end")
	set.DurationVar(&f.duration, "for", 0, "worker: no new turns after this time; 0 = no end")
	set.DurationVar(&f.hold, "hold", 0, "worker: how long each turn lasts")
	set.DurationVar(&f.interval, "interval", 0, "worker, hold: polling interval; 0 = choria's default")
	set.IntVar(&f.strict, "strict", 0, "worker: of so many slots each goes to another worker next; 0 = whoever gets it")
	set.DurationVar(&f.timeout, "timeout", time.Millisecond, "storm: each attempt is cancelled after this time")
	_ = set.Parse(os.Args[2:])
	if err := modes[os.Args[1]](f); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "choria-peer:", err)
	os.Exit(1)
}

func connect(f flags) (*nats.Conn, error) {
	return nats.Connect(f.url, nats.Name("choria-peer"), nats.MaxReconnects(-1))
}

var out struct {
	sync.Mutex
	encoder *json.Encoder
}

// say prints one line at once.
func say(line map[string]any) {
	out.Lock()
	defer out.Unlock()
	if out.encoder == nil {
		out.encoder = json.NewEncoder(os.Stdout)
	}
	if err := out.encoder.Encode(line); err != nil {
		os.Exit(1)
	}
}

// text of an error, for JSON; nil if there is none.
func text(err error) any {
	if err == nil {
		return nil
	}
	return err.Error()
}

// now is the system's monotonic clock in nanoseconds, the same in all processes.
func now() int64 {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		fail(err)
	}
	return at.Nano()
}

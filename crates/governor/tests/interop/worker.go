package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	governor "github.com/choria-io/go-choria/providers/governor/streams"
	"github.com/nats-io/nats.go"
)

func options(f flags) []governor.Option {
	var opts []governor.Option
	if f.interval > 0 {
		opts = append(opts, governor.WithInterval(f.interval))
	}
	if f.subject != "" {
		opts = append(opts, governor.WithSubject(f.subject))
	}
	return opts
}

// work takes turns: {"event":"turn", "worker", "seq", "asked", "granted", "leaving", "left"}, times by now().
func work(f flags) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	connections := make([]*nats.Conn, f.workers)
	for i := range connections {
		nc, err := connect(f)
		if err != nil {
			return err
		}
		connections[i] = nc
	}
	say(map[string]any{"event": "ready"})

	ctx := context.Background()
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	var last lastOne
	last.changed.L = &last.Mutex
	go func() {
		<-ctx.Done()
		last.end()
	}()
	var workers sync.WaitGroup
	for i, nc := range connections {
		workers.Add(1)
		go func() {
			defer workers.Done()
			name := fmt.Sprintf("%s-%d", f.name, i)
			for turn := 0; (f.turns == 0 || turn < f.turns) && ctx.Err() == nil; turn++ {
				if f.strict && !last.isAnother(i) {
					return
				}
				// A new one for each turn: after an error the old one says "already running" for ever.
				gov := governor.New(f.governor, nc, options(f)...)
				asked := now()
				finish, seq, err := gov.Start(ctx, name)
				if err != nil {
					if ctx.Err() == nil {
						say(map[string]any{"event": "error", "worker": name, "error": text(err)})
					}
					continue
				}
				granted := now()
				last.set(i)
				time.Sleep(f.hold)
				leaving := now()
				err = finish()
				say(map[string]any{
					"event": "turn", "worker": name, "seq": seq, "asked": asked, "granted": granted,
					"leaving": leaving, "left": now(), "error": text(err),
				})
			}
		}()
	}
	workers.Wait()
	say(map[string]any{"event": "done"})
	return nil
}

// lastOne is who was granted a slot last.
type lastOne struct {
	sync.Mutex
	changed sync.Cond
	worker  int
	any     bool
	ended   bool
}

func (l *lastOne) set(worker int) {
	l.Lock()
	defer l.Unlock()
	l.worker, l.any = worker, true
	l.changed.Broadcast()
}

func (l *lastOne) end() {
	l.Lock()
	defer l.Unlock()
	l.ended = true
	l.changed.Broadcast()
}

// isAnother waits until it is another one than this worker; false: the end came first.
func (l *lastOne) isAnother(worker int) bool {
	l.Lock()
	defer l.Unlock()
	for l.any && l.worker == worker && !l.ended {
		l.changed.Wait()
	}
	return !l.ended
}

// hold takes a slot, {"event":"granted"}, keeps it until there is a line on stdin, gives it back, {"event":"left"}; again
// with the next line, until stdin ends.
func hold(f flags) error {
	nc, err := connect(f)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for {
		finish, seq, err := governor.New(f.governor, nc, options(f)...).Start(context.Background(), f.name)
		say(map[string]any{"event": "granted", "seq": seq, "at": now(), "error": text(err)})
		if err != nil || !lines.Scan() {
			return lines.Err()
		}
		leaving := now()
		err = finish()
		left := now()
		// A second time is harmless.
		again := finish()
		say(map[string]any{
			"event": "left", "seq": seq, "leaving": leaving, "left": left, "error": text(err), "again": text(again),
		})
		if !lines.Scan() {
			return lines.Err()
		}
	}
}

// storm cancels attempt after attempt: what was stored in spite of that stays until max age.
func storm(f flags) error {
	nc, err := connect(f)
	if err != nil {
		return err
	}
	cancelled := 0
	for range f.turns {
		ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
		finish, _, err := governor.New(f.governor, nc, options(f)...).Start(ctx, f.name)
		cancel()
		if err != nil {
			cancelled++
		} else if err := finish(); err != nil {
			return err
		}
	}
	say(map[string]any{"event": "stormed", "cancelled": cancelled})
	return nc.FlushTimeout(5 * time.Second)
}

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
	turns := handOffs{slots: f.strict}
	turns.changed.L = &turns.Mutex
	go func() {
		<-ctx.Done()
		turns.end()
	}()
	var workers sync.WaitGroup
	for i, nc := range connections {
		workers.Add(1)
		go func() {
			defer workers.Done()
			name := fmt.Sprintf("%s-%d", f.name, i)
			freed := 0
			for turn := 0; (f.turns == 0 || turn < f.turns) && ctx.Err() == nil; turn++ {
				if f.strict > 0 && !turns.taken(freed) {
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
				turns.grant()
				time.Sleep(f.hold)
				leaving := now()
				err = finish()
				freed = turns.free()
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

// handOffs sees to it that every freed slot goes to another worker than the one who freed it: who has freed the n-th slot
// asks again once the n-th freed slot was granted anew.
type handOffs struct {
	sync.Mutex
	changed        sync.Cond
	granted, freed int
	slots          int
	ended          bool
}

func (h *handOffs) grant() {
	h.Lock()
	defer h.Unlock()
	h.granted++
	h.changed.Broadcast()
}

// free tells which one was freed.
func (h *handOffs) free() int {
	h.Lock()
	defer h.Unlock()
	h.freed++
	return h.freed
}

func (h *handOffs) end() {
	h.Lock()
	defer h.Unlock()
	h.ended = true
	h.changed.Broadcast()
}

// taken waits until that one was granted anew; false: the end came first.
func (h *handOffs) taken(freed int) bool {
	h.Lock()
	defer h.Unlock()
	for freed > 0 && h.granted < h.slots+freed && !h.ended {
		h.changed.Wait()
	}
	return !h.ended
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

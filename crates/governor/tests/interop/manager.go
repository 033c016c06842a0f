package main

import (
	"time"

	governor "github.com/choria-io/go-choria/providers/governor/streams"
)

func manager(f flags) (governor.Manager, error) {
	nc, err := connect(f)
	if err != nil {
		return nil, err
	}
	return governor.NewManager(f.governor, f.limit, f.ttl, f.replicas, nc, f.update, options(f)...)
}

// loaded is the governor as choria's own commands load it: without a limit, so that nothing is changed.
func loaded(f flags) (governor.Manager, error) {
	f.limit, f.ttl, f.replicas, f.update = 0, 0, 0, false
	return manager(f)
}

// manage makes or changes a governor and shows it.
func manage(f flags) error {
	m, err := manager(f)
	return show(m, err)
}

func view(f flags) error {
	m, err := loaded(f)
	return show(m, err)
}

func show(m governor.Manager, err error) error {
	if err != nil {
		say(map[string]any{"error": text(err)})
		return nil
	}
	active, err := m.Active()
	if err != nil {
		return err
	}
	last, err := m.LastActive()
	if err != nil {
		return err
	}
	say(map[string]any{
		"error": nil, "name": m.Name(), "limit": m.Limit(), "max_age": m.MaxAge().Nanoseconds(),
		"subject": m.Subject(), "replicas": m.Replicas(), "stream": m.Stream().Name(), "active": active,
		"last_active": last.Format(time.RFC3339Nano), "ever_active": !last.IsZero(),
		"config": m.Stream().Configuration(),
	})
	return nil
}

func list(f flags) error {
	nc, err := connect(f)
	if err != nil {
		return err
	}
	names, err := governor.List(nc, f.collective)
	say(map[string]any{"error": text(err), "names": names})
	return nil
}

func evict(f flags) error {
	m, err := loaded(f)
	if err != nil {
		return err
	}
	name, err := m.Evict(f.seq)
	say(map[string]any{"error": text(err), "name": name})
	return nil
}

func reset(f flags) error {
	m, err := loaded(f)
	if err != nil {
		return err
	}
	say(map[string]any{"error": text(m.Reset())})
	return nil
}

// setLimit changes a governor that was loaded with all it has: a loaded one without would write its zeros.
func setLimit(f flags) error {
	m, err := manager(flags{
		url: f.url, governor: f.governor, subject: f.subject, limit: f.limit, ttl: f.ttl, replicas: f.replicas,
	})
	if err != nil {
		return err
	}
	return show(m, m.SetLimit(f.limit))
}

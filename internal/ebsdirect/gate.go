package ebsdirect

import (
	"context"
	"sync"
)

// The number of puts in flight. AWS takes 1,000 a second; what a connection
// from outside takes is found out.
const (
	firstFlight = 8
	maxFlight   = 64
)

// gate lets as many puts through at once as seems good: one more with each
// success until the first trouble, one more with each full round after that.
type gate struct {
	mu         sync.Mutex
	limit      float64
	troubled   bool
	flying     int
	generation int // raised with each cut, which answers to earlier puts do not repeat
	waiting    []chan struct{}
	peak       int
}

func newGate() *gate { return &gate{limit: firstFlight} }

// enter waits for a place. The generation goes back into leave.
func (g *gate) enter(ctx context.Context) (generation int, err error) {
	g.mu.Lock()
	if g.flying < int(g.limit) {
		defer g.mu.Unlock()
		return g.take(), nil
	}
	place := make(chan struct{})
	g.waiting = append(g.waiting, place)
	g.mu.Unlock()
	select {
	case <-place:
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.generation, nil
	case <-ctx.Done():
		g.abandon(place)
		return 0, context.Cause(ctx)
	}
}

// take is called with the lock held.
func (g *gate) take() int {
	g.flying++
	g.peak = max(g.peak, g.flying)
	return g.generation
}

// abandon gives a place back that nobody waits for any more.
func (g *gate) abandon(place chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, each := range g.waiting {
		if each == place {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return
		}
	}
	g.flying-- // it was given in the same moment
	g.admit()
}

// outcome is how a put went.
type outcome int

const (
	taken outcome = iota
	failed
	throttled
	unanswered
)

// leave frees a place and learns from how it went. An attempt without an answer
// says little about the service, which at times just loses one.
func (g *gate) leave(generation int, how outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying--
	switch {
	case how == taken && !g.troubled:
		g.limit = min(g.limit+1, maxFlight)
	case how == taken:
		g.limit = min(g.limit+1/g.limit, maxFlight)
	case how == throttled && generation == g.generation:
		g.limit, g.troubled = max(g.limit/2, 1), true
		g.generation++
	case how == unanswered && generation == g.generation:
		g.limit, g.troubled = max(g.limit*0.9, 1), true
		g.generation++
	}
	g.admit()
}

// admit is called with the lock held.
func (g *gate) admit() {
	for len(g.waiting) > 0 && g.flying < int(g.limit) {
		g.take()
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
	}
}

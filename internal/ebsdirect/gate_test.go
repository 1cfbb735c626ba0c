package ebsdirect

import (
	"context"
	"testing"
)

// flight lets n puts end one way, as many at once as the gate has room for.
func flight(t *testing.T, g *gate, n int, how outcome) {
	t.Helper()
	for range n {
		generation, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g.leave(generation, how)
	}
}

func TestGate(t *testing.T) {
	g := newGate()
	flight(t, g, 100, taken)
	if int(g.limit) != maxFlight {
		t.Errorf("after 100 puts %v at once, want %d", g.limit, maxFlight)
	}
	flight(t, g, 1, throttled)
	if int(g.limit) != maxFlight/2 {
		t.Errorf("asked for fewer: %v", g.limit)
	}
	flight(t, g, maxFlight/2, taken) // about a round
	if int(g.limit) != maxFlight/2 && int(g.limit) != maxFlight/2+1 {
		t.Errorf("a round later: %v", g.limit)
	}
	before := g.limit
	flight(t, g, 1, unanswered)
	if g.limit >= before || g.limit < before*0.8 {
		t.Errorf("one without an answer: %v of %v", g.limit, before)
	}
	flight(t, g, 50, throttled)
	if g.limit != 1 {
		t.Errorf("asked for fewer time and again: %v", g.limit)
	}
}

// Those that were under way when the service asked for fewer do not count
// again.
func TestGateCutsOnceForARound(t *testing.T) {
	g := newGate()
	var generations []int
	for range firstFlight {
		generation, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		generations = append(generations, generation)
	}
	for _, each := range generations {
		g.leave(each, throttled)
	}
	if g.limit != firstFlight/2 || g.flying != 0 || g.peak != firstFlight {
		t.Errorf("%v at once, %d in flight, at most %d", g.limit, g.flying, g.peak)
	}
}

func TestGateLetsGo(t *testing.T) {
	g := newGate()
	for range firstFlight {
		if _, err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.enter(ctx); err == nil {
		t.Error("let in though cancelled")
	}
	if len(g.waiting) != 0 || g.flying != firstFlight {
		t.Errorf("%d wait, %d fly", len(g.waiting), g.flying)
	}
}

package run

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A program that ends well on SIGTERM is not waited for twice.
func TestCancelledProgramThatExitsWithZero(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{}, 1)
	lines := LineWriter(func(string) { ready <- struct{}{} })
	p, err := Start(ctx, Spec{Argv: []string{"sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"}, Stdout: lines})
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	cancel()
	select {
	case <-p.Done():
	case <-time.After(DefaultGrace - time.Second):
		t.Fatal("still waiting")
	}
	if err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

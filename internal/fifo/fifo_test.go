package fifo_test

import (
	"sync"
	"testing"

	"github.com/org/imagebuild-action/internal/fifo"
)

func TestForgetsTheOldest(t *testing.T) {
	c := fifo.New[string](2)
	if _, ok := c.Get(1); ok {
		t.Error("an empty cache has an entry")
	}
	c.Put(1, "one")
	c.Put(2, "two")
	c.Put(1, "another") // neither replaced nor made younger
	if got, ok := c.Get(1); !ok || got != "one" {
		t.Errorf("got %q, %v", got, ok)
	}
	c.Put(3, "three")
	for key, want := range map[int64]string{1: "", 2: "two", 3: "three"} {
		if got, ok := c.Get(key); got != want || ok != (want != "") {
			t.Errorf("key %d: got %q, %v", key, got, ok)
		}
	}
	c.Put(1, "again")
	if got, _ := c.Get(1); got != "again" {
		t.Errorf("got %q after it was forgotten", got)
	}
	if _, ok := c.Get(2); ok {
		t.Error("three entries in a cache of two")
	}
}

func TestConcurrent(t *testing.T) {
	c := fifo.New[int64](3)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range int64(1000) {
				key := (i + int64(worker)) % 7
				c.Put(key, key)
				if got, ok := c.Get(key); ok && got != key {
					t.Errorf("key %d has %d", key, got)
				}
			}
		})
	}
	all.Wait()
}

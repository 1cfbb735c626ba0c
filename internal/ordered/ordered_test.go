package ordered_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/org/imagebuild-action/internal/ordered"
)

type number struct{ in, out int }

// job doubles the numbers below n; each worker takes its own time.
func job(workers, n int, got *[]int) ordered.Job[*number] {
	next := 0
	return ordered.Job[*number]{
		Workers: workers,
		NewItem: func() *number { return new(number) },
		Produce: func(i *number) error {
			if next == n {
				return io.EOF
			}
			i.in, next = next, next+1
			return nil
		},
		Worker: func() func(*number) error {
			return func(i *number) error {
				time.Sleep(time.Duration(rand.IntN(1000))) // in the bubble's time
				i.out = 2 * i.in
				return nil
			}
		},
		Consume: func(i *number) error {
			*got = append(*got, i.out)
			return nil
		},
	}
}

func TestOrderAndBound(t *testing.T) {
	for _, workers := range []int{0, 1, 2, 7} {
		synctest.Test(t, func(t *testing.T) {
			var got []int
			var made atomic.Int64
			j := job(workers, 1000, &got)
			j.NewItem = func() *number { made.Add(1); return new(number) }
			if err := ordered.Run(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			if len(got) != 1000 {
				t.Fatalf("%d of 1000 results", len(got))
			}
			for i, each := range got {
				if each != 2*i {
					t.Fatalf("result %d is %d", i, each)
				}
			}
			if workers > 0 && made.Load() != int64(workers*ordered.PerWorker) {
				t.Errorf("%d items for %d workers", made.Load(), workers)
			}
		})
	}
}

func TestNothingToDo(t *testing.T) {
	var got []int
	if err := ordered.Run(t.Context(), job(3, 0, &got)); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestFailureAtEveryCall fails the producer, a worker and the consumer at each
// item; the bubble notices a goroutine that is left.
func TestFailureAtEveryCall(t *testing.T) {
	want := errors.New("no")
	for n := range 60 {
		for _, who := range []string{"producer", "worker", "consumer", "cancel"} {
			synctest.Test(t, func(t *testing.T) {
				var got []int
				ctx, cancel := context.WithCancelCause(t.Context())
				j := job(3, 60, &got)
				produce, worker, consume := j.Produce, j.Worker, j.Consume
				fail := func(by string, i *number) error {
					if who == by && i.in == n {
						return want
					}
					return nil
				}
				j.Produce = func(i *number) error { return errors.Join(produce(i), fail("producer", i)) }
				j.Worker = func() func(*number) error {
					work := worker()
					return func(i *number) error { return errors.Join(work(i), fail("worker", i)) }
				}
				j.Consume = func(i *number) error {
					if who == "cancel" && i.in == n {
						cancel(want)
					}
					return errors.Join(consume(i), fail("consumer", i))
				}
				if err := ordered.Run(ctx, j); !errors.Is(err, want) {
					t.Errorf("%s failed at item %d, the result is %v", who, n, err)
				}
				if len(got) > n+1 {
					t.Errorf("%s failed at item %d, %d were consumed", who, n, len(got))
				}
				cancel(nil)
			})
		}
	}
}

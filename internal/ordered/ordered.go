// Package ordered is a bounded worker pool that keeps order: one producer, any
// number of workers, one consumer that sees the items exactly as they were
// produced. What it writes therefore does not depend on the number of workers.
//
// Items are made once and go round in a ring, so memory is bounded by
// PerWorker items a worker, however long the job. It keeps no result and
// starts nothing that outlives Run.
//
//	err := ordered.Run(ctx, ordered.Job[*block]{
//		Workers: 2,
//		NewItem: func() *block { return new(block) },
//		Produce: func(b *block) error { ... return io.EOF },
//		Worker:  func() func(*block) error { return compress },
//		Consume: func(b *block) error { _, err := w.Write(b.data); return err },
//	})
package ordered

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
)

// PerWorker is the number of items in flight for each worker: enough for the
// others to go on while one of them meets a hard item.
const PerWorker = 4

// Job says what to do. T is a pointer to something that holds buffers.
type Job[T any] struct {
	// Workers is the number of concurrent workers; zero means GOMAXPROCS.
	Workers int
	// NewItem makes one item of the ring.
	NewItem func() T
	// Produce fills an item that was used before, or returns io.EOF when
	// there is no more to do. It runs on a goroutine of its own.
	Produce func(T) error
	// Worker makes one worker: a function with its own private state.
	Worker func() func(T) error
	// Consume receives the items in order, on the caller's goroutine.
	Consume func(T) error
}

type slot[T any] struct {
	item T
	done chan struct{}
}

// Run works until the producer is done, and returns the first error of
// anybody, or the context's cause. Nothing that it started is left running.
func Run[T any](ctx context.Context, job Job[T]) error {
	workers := job.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	// Each channel can hold the whole ring, so a send never blocks.
	ring := workers * PerWorker
	free, todo, queue := make(chan *slot[T], ring), make(chan *slot[T], ring), make(chan *slot[T], ring)
	for range ring {
		free <- &slot[T]{item: job.NewItem(), done: make(chan struct{}, 1)}
	}

	var group sync.WaitGroup
	group.Go(func() {
		defer close(queue)
		defer close(todo)
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-free:
				if err := job.Produce(s.item); err != nil {
					if !errors.Is(err, io.EOF) {
						cancel(err)
					}
					return
				}
				todo <- s
				queue <- s
			}
		}
	})
	for range workers {
		group.Go(func() {
			work := job.Worker()
			for s := range todo {
				if ctx.Err() == nil {
					if err := work(s.item); err != nil {
						cancel(err)
					}
				}
				s.done <- struct{}{}
			}
		})
	}
	for s := range queue {
		<-s.done
		if ctx.Err() == nil {
			if err := job.Consume(s.item); err != nil {
				cancel(err)
			}
		}
		free <- s
	}
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

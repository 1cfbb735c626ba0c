// Package fifo is a small cache in memory that forgets its oldest entry: what
// the readers of disk formats need for tables and blocks that are asked for
// several times in a row. It is safe for concurrent use.
//
//	tables := fifo.New[[]uint64](16)
//	tables.Put(7, table)
//	table, ok := tables.Get(7)
//
// It refuses to replace: a key's first value stays until it is forgotten,
// because a value here follows from its key.
package fifo

import "sync"

// Cache holds the entries put last.
type Cache[T any] struct {
	mu      sync.Mutex
	entries map[int64]T
	order   []int64 // oldest first
	limit   int
}

// New returns a cache of at most limit entries, which is 1 or more.
func New[T any](limit int) *Cache[T] {
	return &Cache[T]{entries: map[int64]T{}, limit: limit}
}

// Get returns the value of key, if it is still there.
func (c *Cache[T]) Get(key int64) (value T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok = c.entries[key]
	return value, ok
}

// Put adds a value unless the key has one, and forgets the oldest entry if
// there are too many.
func (c *Cache[T]) Put(key int64, value T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[key]; ok {
		return
	}
	if len(c.order) == c.limit {
		delete(c.entries, c.order[0])
		c.order = c.order[1:]
	}
	c.entries[key] = value
	c.order = append(c.order, key)
}

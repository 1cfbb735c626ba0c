package main

import "testing"

func TestDev(t *testing.T) {
	p := newProgram(t)
	p.cache = "/tmp/cache"
	machines(t, p, t.TempDir(), "/tmp/gcout")
}

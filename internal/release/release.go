// Package release puts what a build made onto a GitHub release, from many jobs
// at once and without one that comes last.
//
//	build, err := release.Load(ctx, "out")
//	outcome, err := release.Publish(ctx, release.Request{Client: client, Tag: "v1.2.3", Builds: []*release.Build{build}}, task)
//
// Each cell (one image, platform and architecture) uploads its artifacts, its
// content manifest and, last of all, one small JSON file that says "this cell
// is complete". Whichever cell sees that all of them are complete closes the
// release: checksums, the Vagrant catalog, the table of AMIs, the body, and then
// it publishes the draft. All of that is made from the cells' JSON files alone,
// so two cells that close at once write the same, and doing it again changes
// nothing.
//
// GitHub has no transaction and its list of releases lags, so jobs that start
// together may each make a draft. They agree on one: what is published comes
// first, then the draft with the lowest id. Everything is looked at again after
// it was uploaded; a cell that finds itself on the wrong draft moves. A draft
// that we made and that turned out to be one too many is first marked (so that
// nobody takes it up any more), then emptied of what the right one has too,
// then removed when nothing is left in it.
//
// It refuses to touch what it did not make: an asset with other bytes, a
// published release that cannot change, a user's own draft beyond adding to it.
// A cancelled or killed run leaves a draft that the next one completes, never
// a half-written release.
package release

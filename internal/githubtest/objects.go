package githubtest

import (
	"crypto/sha1" // git's object names
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// repository is a git repository in memory, with git's own object names.
type repository struct {
	refs    map[string]string // by full name
	blobs   map[string]string
	trees   map[string][]entry
	commits map[string]commit
}

type entry struct{ mode, name, sha string }

type commit struct {
	tree, message string
	parents       []string
	author        person
	committer     person
}

type person struct {
	Name  string    `json:"name"`
	Email string    `json:"email"`
	Date  time.Time `json:"date"`
}

func (p person) String() string {
	return fmt.Sprintf("%s <%s> %d +0000", p.Name, p.Email, p.Date.Unix())
}

const (
	modeFile = "100644"
	modeTree = "040000"
)

func newRepository() *repository {
	return &repository{refs: map[string]string{}, blobs: map[string]string{}, trees: map[string][]entry{}, commits: map[string]commit{}}
}

// hash names an object as git does: its kind, its length, a zero, its bytes.
func hash(kind, content string) string {
	digest := sha1.Sum(fmt.Appendf(nil, "%s %d\x00%s", kind, len(content), content))
	return hex.EncodeToString(digest[:])
}

func (g *repository) addBlob(content string) string {
	sha := hash("blob", content)
	g.blobs[sha] = content
	return sha
}

func (g *repository) addTree(entries []entry) string {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	var content strings.Builder
	for _, e := range entries {
		sha, _ := hex.DecodeString(e.sha)
		fmt.Fprintf(&content, "%s %s\x00%s", strings.TrimLeft(e.mode, "0"), e.name, sha)
	}
	sha := hash("tree", content.String())
	g.trees[sha] = entries
	return sha
}

// sortKey: git compares a folder as if its name ended in a slash.
func (e entry) sortKey() string {
	if e.mode == modeTree {
		return e.name + "/"
	}
	return e.name
}

func (g *repository) addCommit(c commit) string {
	var content strings.Builder
	fmt.Fprintf(&content, "tree %s\n", c.tree)
	for _, parent := range c.parents {
		fmt.Fprintf(&content, "parent %s\n", parent)
	}
	fmt.Fprintf(&content, "author %s\ncommitter %s\n\n%s", c.author, c.committer, c.message)
	sha := hash("commit", content.String())
	g.commits[sha] = c
	return sha
}

// leaf is a file in a flattened tree.
type leaf struct{ mode, sha string }

// flatten lists the files of a tree by path.
func (g *repository) flatten(tree, prefix string, into map[string]leaf) {
	for _, e := range g.trees[tree] {
		if e.mode == modeTree {
			g.flatten(e.sha, prefix+e.name+"/", into)
		} else {
			into[prefix+e.name] = leaf{e.mode, e.sha}
		}
	}
}

// build makes the trees of a set of files.
func (g *repository) build(leaves map[string]leaf) string {
	var entries []entry
	folders := map[string]map[string]leaf{}
	for path, each := range leaves {
		folder, rest, nested := strings.Cut(path, "/")
		if !nested {
			entries = append(entries, entry{each.mode, path, each.sha})
			continue
		}
		if folders[folder] == nil {
			folders[folder] = map[string]leaf{}
		}
		folders[folder][rest] = each
	}
	for folder, below := range folders {
		entries = append(entries, entry{modeTree, folder, g.build(below)})
	}
	return g.addTree(entries)
}

// resolve finds the commit of a branch, tag, full ref or commit.
func (g *repository) resolve(name string) (string, bool) {
	for _, each := range []string{"refs/heads/" + name, "refs/tags/" + name, name} {
		if sha := g.refs[each]; sha != "" {
			return sha, true
		}
	}
	_, ok := g.commits[name]
	return name, ok
}

func (g *repository) commit(sha string) (commit, bool) {
	c, ok := g.commits[sha]
	return c, ok
}

// descends says whether a commit is, or has among its ancestors, another.
func (g *repository) descends(sha, ancestor string) bool {
	if sha == ancestor {
		return true
	}
	return slices.ContainsFunc(g.commits[sha].parents, func(parent string) bool { return g.descends(parent, ancestor) })
}

func (g *repository) leaves(ref string) map[string]leaf {
	result := map[string]leaf{}
	if sha, ok := g.resolve(ref); ok {
		g.flatten(g.commits[sha].tree, "", result)
	}
	return result
}

func (g *repository) files(ref string) map[string]string {
	result := map[string]string{}
	for path, each := range g.leaves(ref) {
		result[path] = g.blobs[each.sha]
	}
	return result
}

func (g *repository) file(ref, path string) (string, bool) {
	each, ok := g.leaves(ref)[path]
	return g.blobs[each.sha], ok
}

func (g *repository) commitFiles(ref string, files map[string]string, message string, now time.Time) string {
	all := g.leaves(ref)
	for path, content := range files {
		all[path] = leaf{modeFile, g.addBlob(content)}
	}
	who := person{Name: "octocat", Email: "octocat@example.com", Date: now.UTC().Truncate(time.Second)}
	c := commit{tree: g.build(all), message: message, author: who, committer: who}
	if parent := g.refs[ref]; parent != "" {
		c.parents = []string{parent}
	}
	g.refs[ref] = g.addCommit(c)
	return g.refs[ref]
}

// splitRef splits "feature/x/dir/file" at the branch that there is.
func (g *repository) splitRef(rest string) (ref, path string) {
	for _, name := range slices.Sorted(maps.Keys(g.refs)) {
		short := strings.TrimPrefix(strings.TrimPrefix(name, "refs/heads/"), "refs/tags/")
		if below, ok := strings.CutPrefix(rest, short+"/"); ok {
			return name, below
		}
	}
	ref, path, _ = strings.Cut(rest, "/")
	return ref, path
}

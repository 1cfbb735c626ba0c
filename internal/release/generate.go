package release

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// generated tells by its name whether an asset is made from the cells, by
// whoever closes the release.
func generated(name string) bool {
	return name == sumsName || strings.HasSuffix(name, "-vagrant.json") || strings.HasSuffix(name, "-amis.json") || strings.HasSuffix(name, "-amis.md")
}

// catalog is one image's catalog on its way to the Pages branch.
type catalog struct {
	image    string
	branch   string // empty: it is served by nobody
	versions []CatalogVersion
	base     *Catalog // what to add to where the branch has none
}

func (p *publisher) download(at *remote) func(string) string {
	return func(asset string) string { return p.Client.DownloadURL(at.Tag, asset) }
}

// owner is the account that the repository belongs to.
func (p *publisher) owner() string {
	owner, _, _ := strings.Cut(p.Client.Repository(), "/")
	return owner
}

// generate uploads what is made from all cells: catalogs, AMI tables, and then
// the checksums of everything.
func (p *publisher) generate(ctx context.Context, at *remote, cells []*Cell, listed []asset) ([]catalog, error) {
	names := map[string]bool{}
	for _, c := range cells {
		names[c.Name] = true
	}
	var catalogs []catalog
	for _, name := range slices.Sorted(maps.Keys(names)) {
		made, err := p.catalog(ctx, at, cells, name, listed)
		if err != nil {
			return nil, err
		}
		if made != nil {
			catalogs = append(catalogs, *made)
		}
		if err := p.amis(ctx, at, cells, name); err != nil {
			return nil, err
		}
	}
	if err := p.sums(ctx, at, cells, catalogs); err != nil || at.Immutable {
		return catalogs, err
	}
	return catalogs, p.settled(ctx, at, cells, catalogs)
}

// catalog uploads the catalog of one image. Nil: it has no box.
func (p *publisher) catalog(ctx context.Context, at *remote, cells []*Cell, name string, assets []asset) (*catalog, error) {
	versions, warnings := boxes(cells, name, p.download(at))
	for _, each := range warnings {
		p.warn("%s", each)
	}
	if len(versions) == 0 {
		return nil, nil
	}
	c := &catalog{image: name, versions: versions}
	for _, cell := range cells { // sorted: everybody takes the same one
		switch branch := cell.Vagrant.Pages; {
		case cell.Name != name || branch == "" || branch == c.branch:
		case c.branch == "":
			c.branch = branch
		default:
			p.warn("the cells of %s name several branches for its catalog; it goes to %s", name, c.branch)
		}
	}
	if err := p.base(ctx, c); err != nil {
		return nil, err
	}
	// Another cell that closes may have begun with a newer base. Its catalog has
	// what this release needs, and to fight over the rest would leave none.
	if assets == nil {
		var err error
		if assets, err = p.listAssets(ctx, at); err != nil {
			return nil, err
		}
	}
	if there := find(assets, catalogAsset(name)); there != nil && there.whole() {
		if text, err := p.hub.read(ctx, there, maxCatalogBytes); err == nil {
			if old, err := ParseCatalog(text); err == nil && old.has(versions) {
				p.note(there.Name, false)
				return c, nil
			}
		}
	}
	text, err := c.base.with(p.owner()+"/"+name, versions).JSON()
	if err != nil {
		return nil, err
	}
	return c, p.put(ctx, at, catalogAsset(name), text, assets)
}

// base finds the catalog that the new versions are added to: the one that is
// served, else that of the latest release.
func (p *publisher) base(ctx context.Context, c *catalog) error {
	if c.branch != "" {
		text, err := p.hub.file(ctx, c.branch, CatalogPath(c.image))
		if err != nil {
			return err
		}
		if text != nil {
			if c.base, err = ParseCatalog(text); err != nil {
				return fmt.Errorf("%s on branch %s: %w; mend it or remove it, and run the job again", CatalogPath(c.image), c.branch, err)
			}
			return nil
		}
	}
	latest, err := p.hub.latest(ctx)
	if err != nil || latest == nil {
		return err
	}
	assets, err := p.hub.assets(ctx, latest.ID)
	if err != nil {
		return err
	}
	there := find(assets, catalogAsset(c.image))
	if there == nil || !there.whole() {
		return nil
	}
	text, err := p.hub.read(ctx, there, maxCatalogBytes)
	if err != nil {
		return err
	}
	if c.base, err = ParseCatalog(text); err != nil {
		p.warn("%s of release %s cannot be read, so a new catalog begins: %v", there.Name, latest.Tag, err)
	}
	return nil
}

func (p *publisher) amis(ctx context.Context, at *remote, cells []*Cell, name string) error {
	own := slices.DeleteFunc(slices.Clone(cells), func(c *Cell) bool { return c.Name != name })
	rows := amiTable(own)
	if len(rows) == 0 {
		return nil
	}
	text, err := encode(rows)
	if err != nil {
		return err
	}
	prefix := name + "-" + rows[0].Version
	if err := p.put(ctx, at, prefix+"-amis.json", text, nil); err != nil {
		return err
	}
	return p.put(ctx, at, prefix+"-amis.md", []byte(amiMarkdown(rows)), nil)
}

// sums uploads the checksums of all other assets, and of the files that lie
// there in parts.
func (p *publisher) sums(ctx context.Context, at *remote, cells []*Cell, catalogs []catalog) error {
	assets, text, err := p.sumsNow(ctx, at, cells, catalogs)
	if err != nil {
		return err
	}
	return p.put(ctx, at, sumsName, text, assets)
}

// settled looks once more at what was made from all cells, before it can be
// published for good: two jobs that close at once may take an upload of the
// other for one that broke off, and then the checksums lack what it made anew.
func (p *publisher) settled(ctx context.Context, at *remote, cells []*Cell, catalogs []catalog) error {
	assets, text, err := p.sumsNow(ctx, at, cells, catalogs)
	if err != nil {
		return err
	}
	switch what, err := p.judge(ctx, fileOf(sumsName, text), find(assets, sumsName), true); {
	case err != nil:
		return err
	case what != skip:
		return fmt.Errorf("%w: %s does not list what is there now", errMoved, sumsName)
	}
	return nil
}

// sumsNow lists the assets, and says what their checksums are. Checksums that
// lack a catalog would be other ones than those of every other job.
func (p *publisher) sumsNow(ctx context.Context, at *remote, cells []*Cell, catalogs []catalog) ([]asset, []byte, error) {
	assets, err := p.listAssets(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range catalogs {
		if there := find(assets, catalogAsset(c.image)); (there == nil || !there.whole()) && !at.Immutable {
			return nil, nil, fmt.Errorf("%w: %s was there, and is not whole any more", errMoved, catalogAsset(c.image))
		}
	}
	digests := map[string]string{}
	for _, c := range cells {
		for _, f := range c.Files() {
			digests[f.Name] = f.SHA256
		}
		for _, a := range c.Artifacts {
			if a.Path != "" {
				digests[a.Name] = a.SHA256
			}
		}
	}
	for i := range assets {
		a := &assets[i]
		if !a.whole() || a.Name == sumsName {
			continue
		}
		if a.SHA256 == "" && digests[a.Name] == "" {
			if a.SHA256, err = p.hub.digest(ctx, a); err != nil {
				return nil, nil, err
			}
		}
		if a.SHA256 != "" {
			digests[a.Name] = a.SHA256
		}
	}
	return assets, sumsText(digests), nil
}

// sumsText is the format of sha256sum, which "sha256sum --check" reads.
func sumsText(digests map[string]string) []byte {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		fmt.Fprintf(&out, "%s  %s\n", digests[name], name)
	}
	return []byte(out.String())
}

// put uploads a generated asset. Others may do the same at this moment, with
// the same bytes.
func (p *publisher) put(ctx context.Context, at *remote, name string, text []byte, listed []asset) error {
	if at.Immutable {
		assets, err := p.listAssets(ctx, at)
		if err != nil {
			return err
		}
		if decide(fileOf(name, text), find(assets, name), false) != skip {
			p.warn("%s is not as it should be, and the release is immutable: it stays so", name)
		}
		return nil
	}
	return p.ensure(ctx, at, fileOf(name, text), textOpener(text), rules{replaceable: true, shared: true, listed: listed})
}

// serveCatalogs commits the catalogs to their Pages branches. Their URLs work
// only now.
func (p *publisher) serveCatalogs(ctx context.Context, catalogs []catalog) error {
	for _, c := range catalogs {
		if c.branch == "" {
			continue
		}
		file := CatalogPath(c.image)
		changed, err := p.hub.UpdateFile(ctx, c.branch, file, fmt.Sprintf("%s %s", c.image, c.versions[len(c.versions)-1].Version), func(old []byte) ([]byte, error) {
			base := c.base
			if old != nil {
				var err error
				if base, err = ParseCatalog(old); err != nil {
					return nil, err
				}
				if base.has(c.versions) {
					return old, nil
				}
			}
			return base.with(p.owner()+"/"+c.image, c.versions).JSON()
		})
		if err != nil {
			return fmt.Errorf("the release is published, but its Vagrant catalog is not on branch %s: %w; run imagebuild release once more when that is mended", c.branch, err)
		}
		if changed {
			p.task.Note("%s is on branch %s", file, c.branch)
		}
		p.outcome.Catalogs = append(p.outcome.Catalogs, file)
	}
	return nil
}

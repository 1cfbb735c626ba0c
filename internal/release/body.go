package release

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/size"
)

// The part of a release's body that is ours lies between these. Everything
// else is the user's own text.
const (
	beginMark = "<!-- imagebuild: begin; what stands between the marks is written anew -->"
	endMark   = "<!-- imagebuild: end -->"
)

// maxBody is how many characters the body of a release has at most.
const maxBody = 125_000

// pendingBody is the body of a draft that is still being filled.
const pendingBody = beginMark + "\n\nThe images are being built.\n\n" + endMark + "\n"

// splitBody finds our section in a body: what stands before it, whether it is
// there at all, and what stands after it.
func splitBody(body string) (before string, found bool, after string) {
	before, rest, found := strings.Cut(body, beginMark)
	if !found {
		return body, false, ""
	}
	_, after, found = strings.Cut(rest, endMark)
	if !found {
		return body, false, "" // half a section: somebody edited it, so it is theirs
	}
	return before, true, after
}

// ownBody tells whether a body holds nothing that a person wrote.
func ownBody(body string) bool {
	before, _, after := splitBody(body)
	return strings.TrimSpace(before+after) == ""
}

// withSection puts the section in its place, or after the user's text. Where
// the body would become too long, the next shorter section is taken.
func withSection(body string, sections ...string) string {
	before, found, after := splitBody(strings.ReplaceAll(body, "\r\n", "\n"))
	if !found {
		if before = strings.TrimRight(before, "\n"); before != "" {
			before += "\n\n"
		}
		after = "\n"
	}
	for _, section := range sections {
		// Bytes, which are at least as many as characters.
		if text := before + beginMark + "\n\n" + section + "\n" + endMark + after; len(text) <= maxBody {
			return text
		}
	}
	return body
}

// sections renders what the body says of the images: in full, without digests,
// and in one line, for the limit of a body's length.
func sections(cells []*Cell, download func(asset string) string, closed bool) []string {
	if !closed {
		return []string{"The images are being built.\n"}
	}
	files := 0
	for _, c := range cells {
		files += len(c.Artifacts)
	}
	amis := amiTable(cells)
	var full, short strings.Builder
	full.WriteString(artifactTable(cells, download, true))
	short.WriteString(artifactTable(cells, download, false))
	for _, out := range []*strings.Builder{&full, &short} {
		if len(amis) > 0 {
			out.WriteString("\n### AMIs\n\n" + amiMarkdown(amis))
		}
		out.WriteString(joinCommands(cells))
		fmt.Fprintf(out, "\n`sha256sum --check --ignore-missing %s` checks what you downloaded.\n", sumsName)
	}
	least := fmt.Sprintf("%d artifacts of %d cells; %s lists them all.\n", files, len(cells), sumsName)
	return []string{full.String(), short.String(), least}
}

func artifactTable(cells []*Cell, download func(string) string, digests bool) string {
	var out strings.Builder
	out.WriteString("### Images\n\n| image | platform | architecture | file | size | booted |")
	if digests {
		out.WriteString(" sha256 |")
	}
	out.WriteString("\n|---|---|---|---|---|---|")
	if digests {
		out.WriteString("---|")
	}
	out.WriteString("\n")
	for _, c := range cells {
		for _, a := range c.Artifacts {
			if a.Path == "" {
				continue
			}
			file := link(a.Name, download)
			if len(a.Parts) > 0 {
				links := make([]string, len(a.Parts))
				for i, part := range a.Parts {
					links[i] = link(part.Name, download)
				}
				file = strings.Join(links, "<br>")
			}
			fmt.Fprintf(&out, "| %s %s | %s | %s | %s | %s | %s |", c.Name, c.Version, c.Platform, c.Arch, file, size.Bytes(a.SizeBytes).Human(), a.Proof.short())
			if digests {
				fmt.Fprintf(&out, " `%s` |", a.SHA256)
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

func link(asset string, download func(string) string) string {
	return fmt.Sprintf("[%s](%s)", asset, download(asset))
}

// short is the proof in a table.
func (p *Proof) short() string {
	if p == nil {
		return "no"
	}
	return fmt.Sprintf("yes, %d tests", p.Tests)
}

// joinCommands says how parts become a file again.
func joinCommands(cells []*Cell) string {
	var out strings.Builder
	for _, c := range cells {
		for _, a := range c.Artifacts {
			if len(a.Parts) == 0 {
				continue
			}
			if out.Len() == 0 {
				out.WriteString("\n### Files in parts\n\nDownload all parts of a file into one folder, then join them there:\n\n```sh\n# Linux and macOS\n")
			}
			fmt.Fprintf(&out, "cat %s.part?? > %s\n", a.Name, a.Name)
		}
	}
	if out.Len() == 0 {
		return ""
	}
	out.WriteString("```\n\n```bat\nrem Windows\n")
	for _, c := range cells {
		for _, a := range c.Artifacts {
			if len(a.Parts) == 0 {
				continue
			}
			names := make([]string, len(a.Parts))
			for i, part := range a.Parts {
				names[i] = part.Name
			}
			fmt.Fprintf(&out, "copy /b %s %s\n", strings.Join(names, "+"), a.Name)
		}
	}
	out.WriteString("```\n")
	return out.String()
}

// AMI is one row of the table of AMIs.
type AMI struct {
	Name     string `json:"name"` // of the image
	Version  string `json:"version"`
	Platform string `json:"platform"`
	Arch     string `json:"arch"`
	Region   string `json:"region"`
	ID       string `json:"image_id"`
}

func amiTable(cells []*Cell) []AMI {
	var rows []AMI
	for _, c := range cells {
		for _, a := range c.Artifacts {
			if a.Kind == image.AMI && a.Reference != "" {
				rows = append(rows, AMI{c.Name, c.Version, c.Platform, c.Arch, a.Region, a.Reference})
			}
		}
	}
	slices.SortFunc(rows, func(a, b AMI) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), compareVersions(a.Version, b.Version), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Region, b.Region), cmp.Compare(a.ID, b.ID))
	})
	return rows
}

func amiMarkdown(rows []AMI) string {
	var out strings.Builder
	out.WriteString("| image | platform | architecture | region | AMI |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "| %s %s | %s | %s | %s | `%s` |\n", r.Name, r.Version, r.Platform, r.Arch, r.Region, r.ID)
	}
	return out.String()
}

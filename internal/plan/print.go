package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/template"
)

// JSON renders the plan for out/plan.json: the same bytes for the same plan on
// every machine, without this machine's paths and without sensitive values.
func (p *Plan) JSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p); err != nil {
		return nil, fault.Errorf(fault.Bug, "encode the plan: %w", err)
	}
	return out.Bytes(), nil
}

// Table prints the plan for a person.
func (p *Plan) Table(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s\n\n", p.Name, p.Version)
	fmt.Fprintf(&out, "plan   %s\nepoch  %s\n", short(p.Digest), p.epoch())
	rows := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprint(rows, "\nPLATFORM\tTYPE\tARCH\tTREE\tDIGEST\tTESTS\n")
	for _, c := range p.Cells {
		fmt.Fprintf(rows, "%s\t%s\t%s\t%s\t%s\t%d\n", c.Platform, c.Type, c.Arch, short(c.TreeID), short(c.Digest), len(c.Tests))
	}
	_ = rows.Flush() // into memory
	for _, t := range p.Trees {
		p.tree(&out, t)
	}
	if len(p.Differences) > 0 {
		fmt.Fprint(rows, "\nDIFFERENCE\tPLATFORMS\tREASON\n")
		for _, d := range p.Differences {
			fmt.Fprintf(rows, "%s\t%s\t%s\n", oneLine(d.Step), strings.Join(d.Platforms, ", "), d.Reason)
		}
		_ = rows.Flush()
	}
	_, err := w.Write(out.Bytes())
	return err
}

// epoch prints the time; zero stands for the date that the source itself has.
func (p *Plan) epoch() string {
	if p.SourceDateEpoch == 0 {
		return "the source's own"
	}
	return time.Unix(p.SourceDateEpoch, 0).UTC().Format(time.RFC3339)
}

func (p *Plan) tree(out io.Writer, t *Tree) {
	var platforms []string
	for _, c := range p.Cells {
		if c.TreeID == t.ID {
			platforms = append(platforms, c.Platform)
		}
	}
	slices.Sort(platforms)
	fmt.Fprintf(out, "\ntree %s for %s: %s, engine %s", short(t.ID), strings.Join(platforms, ", "), t.Arch, t.Engine)
	if t.Engine == template.Instance {
		fmt.Fprint(out, "; what the source is, is looked up when it is built\n")
	} else {
		fmt.Fprintf(out, ", disk %s\n", t.disk())
	}
	rows := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(rows, "  0\tsource\t%s\t\t%s\n", t.Source.Kind, short(t.Source.Digest))
	for i, s := range t.Steps {
		fmt.Fprintf(rows, "  %d\t%s\t%s\t%s\t%s\n", i+1, s.Kind, oneLine(s.Name), s.Timeout, short(s.Digest))
	}
	_ = rows.Flush()
}

// disk says what the disk will be.
func (t *Tree) disk() string {
	if !t.KeepsDisk {
		return fmt.Sprintf("%s %s %s", t.Disk.Size, t.Disk.Filesystem, t.Disk.Firmware)
	}
	text := "kept as it is"
	if t.Disk.Size > 0 {
		text = t.Disk.Size.String() + ", " + text
	}
	if t.Varies() {
		text += " (another build of it may have other bytes)"
	}
	return text
}

// short is enough of a digest for a person to compare.
func short(digest string) string { return digest[:min(12, len(digest))] }

// oneLine keeps a name from the template in its cell of the table.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

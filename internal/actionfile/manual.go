package actionfile

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

// The lines in a document that Fill writes between.
const (
	Begin = "<!-- made from action.yml by make docs: begin -->"
	End   = "<!-- made from action.yml by make docs: end -->"
)

// Tables renders inputs and outputs as two Markdown tables.
func (f *File) Tables() string {
	var b strings.Builder
	b.WriteString("| input | default | |\n|---|---|---|\n")
	for _, input := range f.Inputs {
		if input.Deprecated == "" {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", input.Name, cell(code(input.Default)), cell(input.Description))
		}
	}
	b.WriteString("\n| output | |\n|---|---|\n")
	for _, output := range f.Outputs {
		fmt.Fprintf(&b, "| `%s` | %s |\n", output.Name, cell(output.Description))
	}
	return b.String()
}

const manualHead = `# The action

Every input and output of ` + "`uses: org/imagebuild-action@v1`" + `, made from ` + "[action.yml](../action.yml) (`make docs`)" + `.
Whole workflows: [examples/workflows](../examples/workflows/README.md). None of the inputs has to be set.

`

// Manual renders the reference page: every input and output with its own
// anchor.
func (f *File) Manual() string {
	var b strings.Builder
	b.WriteString(manualHead)
	b.WriteString("## Inputs\n\n")
	for _, input := range f.Inputs {
		fmt.Fprintf(&b, "### `%s`\n\n%s\n\n", input.Name, input.Description)
		if input.Default != "" {
			fmt.Fprintf(&b, "Default: %s\n\n", code(input.Default))
		}
		if input.Deprecated != "" {
			fmt.Fprintf(&b, "Deprecated: %s\n\n", input.Deprecated)
		}
	}
	b.WriteString("## Outputs\n")
	for _, output := range f.Outputs {
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n", output.Name, output.Description)
	}
	return b.String()
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// cell makes text fit into one cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// Fill replaces what stands between the lines Begin and End of a document.
// Each must be there once, in that order.
func Fill(document []byte, content string) ([]byte, error) {
	head, rest, found := bytes.Cut(document, []byte(Begin+"\n"))
	if !found {
		return nil, fault.Errorf(fault.Input, "there is no line %s", Begin)
	}
	old, tail, found := bytes.Cut(rest, []byte(End+"\n"))
	if !found || bytes.Contains(old, []byte(Begin)) || bytes.Contains(tail, []byte(Begin)) || bytes.Contains(tail, []byte(End)) {
		return nil, fault.Errorf(fault.Input, "want the line %s once, after the other one", End)
	}
	return bytes.Join([][]byte{head, []byte(Begin + "\n\n" + content + "\n" + End + "\n"), tail}, nil), nil
}

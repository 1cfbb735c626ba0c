package verify

import (
	"io"
	"strings"

	"github.com/org/imagebuild-action/internal/run"
)

func writeFile(path, content string) error {
	return place(path, strings.NewReader(content))
}

func place(path string, content io.Reader) error {
	f, err := run.CreateFile(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := io.Copy(f, content); err != nil {
		return run.Explain(err)
	}
	return f.Commit()
}

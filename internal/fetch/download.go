package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/retry"
	"github.com/org/imagebuild-action/internal/run"
)

// download is one file on its way into the cache.
type download struct {
	request Request
	want    digest
	policy  retry.Policy
	task    report.Task
}

func (d *download) run(ctx context.Context) (string, error) {
	name := filepath.Join(d.request.CacheDir, downloadsDir, d.want.fileName())
	p, err := open(ctx, name, d.task)
	if err != nil {
		return "", err
	}
	defer p.close()
	switch err := d.want.check(ctx, name); {
	case err == nil:
		d.task.Note("%s is in the cache", d.want)
		now := time.Now()
		return name, run.Explain(os.Chtimes(name, now, now)) // it was used
	case errors.As(err, new(*mismatch)):
		d.task.Warn("the copy in the cache is damaged and will be downloaded again")
		if err := os.Remove(name); err != nil {
			return "", run.Explain(err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return "", run.Explain(err)
	}
	if err := retry.Do(ctx, d.policy, func(ctx context.Context, _ int) error { return d.attempt(ctx, p) }); err != nil {
		return "", err
	}
	if err := prune(filepath.Dir(name), cmp.Or(d.request.CacheLimit, DefaultCacheLimit), time.Now()); err != nil {
		d.task.Warn("old downloads cannot be removed: %v", err)
	}
	return name, nil
}

// attempt downloads what is missing and finishes the file if it is right.
func (d *download) attempt(ctx context.Context, p *place) error {
	resumed, err := d.transfer(ctx, p)
	if err != nil {
		return err
	}
	err = d.want.check(ctx, p.part.Name())
	if err == nil {
		return retry.Permanent(p.commit())
	}
	if !errors.As(err, new(*mismatch)) {
		return retry.Permanent(err)
	}
	err = errors.Join(fault.Wrap(fault.Input, err), p.discard())
	if resumed { // pieced together; from one piece it may be right
		return err
	}
	return retry.Permanent(err)
}

// transfer appends to the part what the server sends.
func (d *download) transfer(ctx context.Context, p *place) (resumed bool, err error) {
	ctx, w := newWatch(ctx, d.request.StallLimit)
	defer w.stop()
	have, from := p.have(d.request.Location)
	header := http.Header{}
	if have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		header.Set("If-Range", from.Validator)
	}
	resp, err := d.request.open(ctx, d.request.Location, header)
	if err != nil {
		return false, w.explain(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
		start, err := rangeStart(resp)
		if err != nil || start != have || have == 0 {
			return false, errors.Join(fault.Errorf(fault.Remote, "the server answers with a part that was not asked for (%s)", resp.Header.Get("Content-Range")), p.discard())
		}
		resumed = true
	case http.StatusRequestedRangeNotSatisfiable:
		// All of it is there, or it has become another file: the digest knows.
		if have > 0 && resp.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", have) {
			return true, nil
		}
		return false, errors.Join(fault.Errorf(fault.Remote, "the server has no byte %d", have), p.discard())
	default:
		have = 0
		if err := p.restart(origin{d.request.Location, validator(resp)}); err != nil {
			return false, retry.Permanent(err)
		}
	}
	total := int64(0)
	if resp.ContentLength >= 0 {
		total = have + resp.ContentLength
	}
	if limit := d.request.limit(); total > limit {
		return resumed, retry.Permanent(errors.Join(tooLarge(limit), p.discard()))
	}
	body := &watchedReader{r: resp.Body, watch: w, done: have, total: total, task: d.task}
	return resumed, d.append(p, have, body)
}

// append writes the body behind the first have bytes.
func (d *download) append(p *place, have int64, body *watchedReader) error {
	limit := d.request.limit()
	out := &fileWriter{w: io.NewOffsetWriter(p.part, have)}
	_, err := io.Copy(out, io.LimitReader(body, limit-have+1))
	switch {
	case out.err != nil:
		return retry.Permanent(run.Explain(out.err))
	case body.done > limit:
		return retry.Permanent(errors.Join(tooLarge(limit), p.discard()))
	case err != nil:
		return fmt.Errorf("after %d bytes: %w", body.done, body.watch.explain(err))
	}
	return nil
}

func tooLarge(limit int64) error {
	return fault.Errorf(fault.Input, "the file is larger than %d bytes, which is the limit", limit)
}

// fileWriter remembers that it was the file that failed, and not the server.
type fileWriter struct {
	w   io.Writer
	err error
}

func (f *fileWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.err = err
	return n, err
}

// validator is what If-Range takes: a strong entity tag or, without one, the
// date of the last change.
func validator(resp *http.Response) string {
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return resp.Header.Get("Last-Modified")
}

// rangeStart reads "bytes START-END/TOTAL".
func rangeStart(resp *http.Response) (int64, error) {
	var start, end int64
	_, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/", &start, &end)
	return start, err
}

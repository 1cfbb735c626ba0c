package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/org/imagebuild-action/internal/fault"
)

// The states of an asset.
const (
	Uploaded = "uploaded"
	Starter  = "starter" // what an upload that broke, or still runs, has left so far
)

// Asset is a release's file.
type Asset struct {
	ID          int64     `json:"id"`
	Name        string    `json:"name"`
	Label       string    `json:"label"`
	State       string    `json:"state"`
	ContentType string    `json:"content_type"`
	SizeBytes   int64     `json:"size"`
	Digest      string    `json:"digest"` // "sha256:..."; empty where GitHub has none
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	URL         string    `json:"url"`
	DownloadURL string    `json:"browser_download_url"`
	Uploader    User      `json:"uploader"`
}

// File is what Upload sends.
type File struct {
	Name        string
	ContentType string // application/octet-stream unless set
	SizeBytes   int64
	// Open begins the content anew; Upload closes what it returns.
	Open func() (io.ReadCloser, error)
	// Progress is told how many bytes are sent; may be nil.
	Progress func(sentBytes int64)
}

// Assets lists all assets of a release, starters too.
func (c *Client) Assets(ctx context.Context, release int64) ([]Asset, error) {
	return list(ctx, c, fmt.Sprintf("list the assets of release %d", release), fmt.Sprintf("/releases/%d/assets", release), func(a Asset) int64 { return a.ID })
}

// DeleteAsset deletes an asset. That it is gone already is no error.
func (c *Client) DeleteAsset(ctx context.Context, id int64) error {
	return c.remove(ctx, fmt.Sprintf("delete asset %d", id), fmt.Sprintf("/releases/assets/%d", id))
}

// Upload sends a file to a release's upload URL, once. Whatever goes wrong on
// the way may have left a starter, or the whole asset: if the error satisfies AlreadyExists
// or OutcomeUnknown, list the assets before the next attempt, and wait with Pause.
// There is no limit on the whole, only StallTime without a byte.
func (c *Client) Upload(ctx context.Context, uploadURL string, file File) (*Asset, error) {
	e := &exchange{op: "upload " + file.Name, unknown: true}
	address, err := c.uploadAddress(uploadURL, file)
	if err != nil {
		return nil, err
	}
	watched, watch := newWatch(context.WithValue(ctx, exchangeKey{}, e), c.opts.StallTime)
	defer watch.stop()
	open := func() (io.ReadCloser, error) {
		content, err := file.Open()
		if err != nil {
			return nil, err
		}
		// A pipe whose other end sleeps would hold up net/http, which waits for
		// the reader even when the request is cancelled.
		context.AfterFunc(watched, func() { content.Close() })
		return &watchedReader{ReadCloser: content, watch: watch, isFile: true, progress: file.Progress}, nil
	}
	body, err := open()
	if err != nil {
		return nil, fault.Errorf(fault.Environment, "%s: %w", e.op, err)
	}
	req, err := http.NewRequestWithContext(watched, http.MethodPost, address, body)
	if err != nil {
		return nil, errors.Join(fault.Errorf(fault.Bug, "%s: %w", e.op, err), body.Close())
	}
	req.ContentLength, req.GetBody = file.SizeBytes, open
	req.Header.Set("Content-Type", orOctets(file.ContentType))
	req.Header.Set("Accept", "application/vnd.github+json")
	asset := new(Asset)
	return orNil(asset, c.failure(ctx, e, c.send(c.upload, req, watch, e, func(r io.Reader) error {
		return json.NewDecoder(r).Decode(asset)
	})))
}

func (c *Client) uploadAddress(template string, file File) (string, error) {
	plain, _, _ := strings.Cut(template, "{") // {?name,label}
	address, err := url.Parse(plain)
	switch {
	case err != nil || address.Host == "":
		return "", fault.Errorf(fault.Remote, "upload %s: the release's upload URL %q is not one", file.Name, c.clean(template))
	case address.Scheme != c.api.Scheme:
		return "", fault.Errorf(fault.Remote, "upload %s: the release's upload URL is %s, the API's %s: no token goes there", file.Name, address.Scheme, c.api.Scheme)
	case file.SizeBytes <= 0:
		return "", fault.Errorf(fault.Input, "upload %s: the file is empty, which GitHub refuses", file.Name)
	}
	address.RawQuery = url.Values{"name": {file.Name}}.Encode()
	return address.String(), nil
}

// send does one transfer and hands its answer, if it is one, to read.
func (c *Client) send(client *http.Client, req *http.Request, watch *watch, e *exchange, read func(io.Reader) error) error {
	resp, err := client.Do(req)
	if err != nil {
		if neverSent(err) {
			e.unknown = false
		}
		return watch.cause(err)
	}
	defer resp.Body.Close()
	if err := gogithub.CheckResponse(resp); err != nil {
		e.unknown = e.unknown && resp.StatusCode >= 500
		return err
	}
	return watch.cause(read(resp.Body))
}

// Download writes an asset's bytes to w. It fails, after writing, if their
// number or digest is not the asset's. A transfer that breaks off is not resumed.
func (c *Client) Download(ctx context.Context, asset Asset, w io.Writer) error {
	e := &exchange{op: "download " + asset.Name, repeatable: true, began: c.opts.Now()}
	watched, watch := newWatch(context.WithValue(ctx, exchangeKey{}, e), c.opts.StallTime)
	defer watch.stop()
	req, err := http.NewRequestWithContext(watched, http.MethodGet, c.api.JoinPath(c.path(fmt.Sprintf("/releases/assets/%d", asset.ID))).String(), nil)
	if err != nil {
		return fault.Errorf(fault.Bug, "%s: %w", e.op, err)
	}
	req.Header.Set("Accept", "application/octet-stream")
	return c.failure(ctx, e, c.send(c.transfer, req, watch, e, func(r io.Reader) error {
		hash := sha256.New()
		size, err := io.Copy(io.MultiWriter(localWriter{w}, hash), &watchedReader{ReadCloser: io.NopCloser(r), watch: watch})
		if err != nil {
			return err
		}
		if digest := "sha256:" + hex.EncodeToString(hash.Sum(nil)); size != asset.SizeBytes || asset.Digest != "" && digest != asset.Digest {
			return fmt.Errorf("got %d bytes, %s; the asset has %d, %s", size, digest, asset.SizeBytes, asset.Digest)
		}
		return nil
	}))
}

// ReadAsset returns the bytes of an asset of at most limit bytes, trying again
// when a transfer breaks off.
func (c *Client) ReadAsset(ctx context.Context, asset Asset, limit int64) ([]byte, error) {
	if asset.SizeBytes > limit {
		return nil, fault.Errorf(fault.Remote, "download %s: %d bytes are more than the %d that it should have", asset.Name, asset.SizeBytes, limit)
	}
	for attempt := 1; ; attempt++ {
		var buffer bytes.Buffer
		err := c.Download(ctx, asset, &limited{&buffer, limit})
		if err == nil {
			return buffer.Bytes(), nil
		}
		if !Temporary(err) || attempt >= 3 {
			return nil, err
		}
		if paused := c.Pause(ctx, attempt, err); paused != nil {
			return nil, errors.Join(paused, err)
		}
	}
}

// limited refuses more bytes than there should be.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, errors.New("more bytes than the asset has")
	}
	return l.w.Write(p)
}

func orOctets(contentType string) string {
	if contentType == "" {
		return "application/octet-stream"
	}
	return contentType
}

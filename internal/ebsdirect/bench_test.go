package ebsdirect_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/ebsdirect"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// BenchmarkUpload sends a disk with 512 MiB of data to the cloud on loopback,
// and the same blocks with a bare loop of 64 PUTs, in turn. It reports the
// throughput, its ratio to the bare loop's and the most memory that the process
// had until the last upload, the cloud included.
func BenchmarkUpload(b *testing.B) {
	server, cloud := open(b, awstest.Options{Discard: true}, amazon.Limits{})
	disk := bigDisk(b, 512)
	var ours, bare time.Duration
	var sent int64
	memory := 0
	for b.Loop() {
		id := startNamed(b, cloud, fmt.Sprint(b.N, sent, "ours"))
		begun := time.Now()
		report, err := ebsdirect.Upload(b.Context(), cloud, ebsdirect.Request{Region: region, Snapshot: id, Disk: disk})
		if err != nil {
			b.Fatal(err)
		}
		ours += time.Since(begun)
		if memory == 0 {
			memory = peakMiB(b)
		}
		sent += report.Blocks * ebsdirect.BlockBytes
		id = startNamed(b, cloud, fmt.Sprint(b.N, sent, "bare"))
		begun = time.Now()
		if err := bareLoop(b.Context(), server.URL(), id, disk); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(begun)
	}
	b.ReportMetric(float64(sent)/1e6/ours.Seconds(), "MB/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-bare-loop")
	b.ReportMetric(float64(memory), "peak-MiB")
}

func startNamed(b *testing.B, cloud *amazon.Cloud, token string) string {
	b.Helper()
	id, err := ebsdirect.Start(b.Context(), cloud, ebsdirect.New{Region: region, SizeGiB: 1, Description: "bench", Token: strings.ReplaceAll(token, " ", "-"), Minutes: 60})
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// bigDisk is a raw file with data in its first mebibytes.
func bigDisk(b *testing.B, mebibytes int) image.Disk {
	b.Helper()
	path := filepath.Join(b.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	for i := range mebibytes {
		if _, err := f.Write(testkit.Noise(uint64(i), 1<<20)); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(1<<30), f.Close()); err != nil {
		b.Fatal(err)
	}
	disk, err := raw.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = disk.Close() })
	return disk
}

// bareLoop is what any client has to do at the least: read, hash, sign, send.
func bareLoop(ctx context.Context, url, id string, disk image.Disk) error {
	const workers = 64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	offsets := make(chan int64)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(offsets)
		blocks := image.NewBlocks(disk, ebsdirect.BlockBytes)
		for {
			offset, err := blocks.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			select {
			case offsets <- offset:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	for range workers {
		group.Go(func() error {
			signer, data := v4.NewSigner(), make([]byte, ebsdirect.BlockBytes)
			for offset := range offsets {
				if err := image.ReadBlock(disk, data, offset); err != nil {
					return err
				}
				if err := putBare(ctx, client, signer, fmt.Sprintf("%s/snapshots/%s/blocks/%d", url, id, offset/ebsdirect.BlockBytes), data); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func putBare(ctx context.Context, client *http.Client, signer *v4.Signer, url string, data []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	digest := sha256.Sum256(data)
	r.Header.Set("X-Amz-Checksum", base64.StdEncoding.EncodeToString(digest[:]))
	r.Header.Set("X-Amz-Checksum-Algorithm", "SHA256")
	r.Header.Set("X-Amz-Data-Length", fmt.Sprint(len(data)))
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	credentials := aws.Credentials{AccessKeyID: awstest.AccessKey, SecretAccessKey: awstest.SecretKey}
	if err := signer.SignHTTP(ctx, credentials, r, "UNSIGNED-PAYLOAD", "ebs", region, time.Now()); err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %w", answer.Status, err)
	}
	return nil
}

// peakMiB is VmHWM of proc_pid_status(5).
func peakMiB(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kibibytes int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kibibytes); n == 1 {
			return kibibytes >> 10
		}
	}
	t.Fatal("the kernel does not tell VmHWM")
	return 0
}

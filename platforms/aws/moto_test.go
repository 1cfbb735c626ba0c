package aws

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/retry"
	"github.com/org/imagebuild-action/internal/testkit"
)

// TestMoto publishes to another implementation of AWS's interface, where its
// program is installed. It cannot be asked for the blocks again: version 5.2
// answers 500.
func TestMoto(t *testing.T) {
	testkit.Whole(t, "publishes to another fake")
	tool, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed")
	}
	r := newRun(t, awstest.Options{})
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool, "-H", "127.0.0.1", "-p", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Setenv("AWS_ENDPOINT_URL", "http://"+address)
	if err := answers(t.Context(), "http://"+address); err != nil {
		t.Fatal(err)
	}
	r.limits.Attempt, r.limits.Attempts = 60*time.Second, 3
	out := r.mustPublish()
	var record Record
	if err := json.Unmarshal(out.Record, &record); err != nil || len(record.Images) != 3 {
		t.Fatalf("%v: %s", err, out.Record)
	}
	if again := r.mustPublish(); string(again.Record) != string(out.Record) {
		t.Errorf("the second run made others: %s, then %s", out.Record, again.Record)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func answers(ctx context.Context, url string) error {
	return retry.Do(ctx, retry.Policy{Attempts: 100, Delay: 100 * time.Millisecond, MaxDelay: 300 * time.Millisecond}, func(ctx context.Context, _ int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/moto-api/", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
}

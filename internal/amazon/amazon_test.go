package amazon_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/fault"
)

const region = "eu-west-1"

var quick = amazon.Limits{Attempt: 100 * time.Millisecond, Attempts: 3, Delay: time.Millisecond, Poll: time.Millisecond, MaxPoll: 4 * time.Millisecond}

func open(t *testing.T, o awstest.Options) (*awstest.Server, *amazon.Cloud) {
	t.Helper()
	server := awstest.New(t, o)
	server.Setenv(t, os.Environ())
	cloud, err := amazon.Open(t.Context(), amazon.Access{Agent: "imagebuild"}, region, quick)
	if err != nil {
		t.Fatal(err)
	}
	return server, cloud
}

func describe(ctx context.Context, cloud *amazon.Cloud) error {
	_, err := amazon.Do(ctx, cloud, region, "ec2:DescribeImages", func(ctx context.Context) (*ec2.DescribeImagesOutput, error) {
		return cloud.EC2(region).DescribeImages(ctx, &ec2.DescribeImagesInput{})
	})
	return err
}

// TestOneLayerOfRetries: what can pass is tried again, as often as Limits say
// and no oftener; what cannot is not.
func TestOneLayerOfRetries(t *testing.T) {
	for _, tc := range []struct {
		effect   awstest.Effect
		attempts int
		want     string
	}{
		{awstest.Internal, 3, "InternalError: An internal error has occurred. (tried 3 times)"},
		{awstest.Throttle, 3, "RequestLimitExceeded: Request limit exceeded. (tried 3 times)"},
		{awstest.Hang, 3, "no answer within 100ms; check the region's name and the network (tried 3 times)"},
		{awstest.Reset, 3, "connection reset by peer"},
		{awstest.Refuse, 1, "OperationNotPermitted: Refused for the test."},
	} {
		t.Run(string(tc.effect), func(t *testing.T) {
			server, cloud := open(t, awstest.Options{})
			if cloud.Account != awstest.Account {
				t.Errorf("account %q", cloud.Account)
			}
			server.Fail(awstest.Fault{Operation: "DescribeImages", Times: -1, Effect: tc.effect})
			err := describe(t.Context(), cloud)
			if n := server.Count("DescribeImages"); err == nil || n != tc.attempts || !strings.Contains(err.Error(), tc.want) || fault.KindOf(err) != fault.Remote {
				t.Errorf("%d attempts, %v: %v", n, fault.KindOf(err), err)
			}
			server.Heal()
			server.Fail(awstest.Fault{Operation: "DescribeImages", Times: tc.attempts - 1, Effect: tc.effect})
			if tc.attempts > 1 {
				if err := describe(t.Context(), cloud); err != nil {
					t.Errorf("the last attempt: %v", err)
				}
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	server, cloud := open(t, awstest.Options{})
	server.Fail(awstest.Fault{Operation: "DescribeImages", Times: -1, Effect: awstest.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := describe(ctx, cloud); !errors.Is(err, context.DeadlineExceeded) || server.Count("DescribeImages") != 1 {
		t.Errorf("%v after %d attempts", err, server.Count("DescribeImages"))
	}
}

func TestPoll(t *testing.T) {
	_, cloud := open(t, awstest.Options{})
	looks := 0
	if err := cloud.Poll(t.Context(), time.Second, "it", func(context.Context) (bool, error) { looks++; return looks == 4, nil }); err != nil || looks != 4 {
		t.Errorf("%v after %d looks", err, looks)
	}
	err := cloud.Poll(t.Context(), 10*time.Millisecond, "the image", func(context.Context) (bool, error) { return false, nil })
	if err == nil || !strings.Contains(err.Error(), "the image: not within 10ms") || fault.KindOf(err) != fault.Remote {
		t.Errorf("%v", err)
	}
}

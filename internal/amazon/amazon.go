// Package amazon is a connection to AWS: credentials, one client for each
// service and region, one layer of retries with a time limit for every attempt,
// and errors that say what is missing.
//
//	cloud, err := amazon.Open(ctx, amazon.Access{Agent: "imagebuild"}, amazon.Limits{})
//	out, err := amazon.Do(ctx, cloud, "us-east-1", "ec2:CopyImage", func(ctx context.Context) (*ec2.CopyImageOutput, error) {
//		return cloud.EC2("us-east-1").CopyImage(ctx, in)
//	})
//
// Credentials come from the SDK's default chain (environment, shared files,
// SSO, container and instance roles), or from a role that the job's own OIDC
// token may assume. The SDK's retries are off: two layers multiply, and neither
// of the SDK's bounds one attempt, so that a peer which says nothing is waited
// for without end.
//
// It refuses nothing by itself; it creates nothing either.
package amazon

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/org/imagebuild-action/internal/fault"
)

// Access is how we come to be allowed anything.
type Access struct {
	// Role is the ARN of a role to assume with Token; empty leaves it to the
	// SDK's default chain.
	Role string
	// Token gets a fresh OIDC token of the job for an audience.
	Token func(ctx context.Context, audience string) (string, error)
	// Session names the role's session in AWS's own logs; imagebuild unless set.
	Session string
	// Agent is added to the User-Agent header; empty adds nothing.
	Agent string
}

// assume is the call that turns a job's identity into a role's session.
const assume = "sts:AssumeRoleWithWebIdentity"

// Audience is what AWS's identity provider for GitHub expects of a token.
const Audience = "sts.amazonaws.com"

// Limits bound what is waited for. Zero values mean the defaults.
type Limits struct {
	Attempt  time.Duration // of one call; 30 s
	Attempts int           // of one call, the first included; 8
	Delay    time.Duration // before the second attempt; 500 ms
	MaxDelay time.Duration // 20 s
	Poll     time.Duration // between two looks at something in progress, at first; 2 s
	MaxPoll  time.Duration // 15 s
	Appear   time.Duration // until what was made exists; 5 min
	Settle   time.Duration // until a snapshot or an image is ready; 60 min
	Boot     time.Duration // until an instance runs, can be entered, has stopped, or is gone: of each 10 min
	Stall    time.Duration // without one successful put before an upload ends; 5 min
}

func (l Limits) orDefaults() Limits {
	l.Attempt = cmp.Or(l.Attempt, 30*time.Second)
	l.Attempts = cmp.Or(l.Attempts, 8)
	l.Delay = cmp.Or(l.Delay, 500*time.Millisecond)
	l.MaxDelay = cmp.Or(l.MaxDelay, 20*time.Second)
	l.Poll = cmp.Or(l.Poll, 2*time.Second)
	l.MaxPoll = cmp.Or(l.MaxPoll, 15*time.Second)
	l.Appear = cmp.Or(l.Appear, 5*time.Minute)
	l.Settle = cmp.Or(l.Settle, time.Hour)
	l.Boot = cmp.Or(l.Boot, 10*time.Minute)
	l.Stall = cmp.Or(l.Stall, 5*time.Minute)
	return l
}

// Cloud is a connection. It is safe for concurrent use.
type Cloud struct {
	Limits  Limits
	Account string // twelve digits
	Caller  string // ARN of who we are
	config  aws.Config

	mu      sync.Mutex
	clients map[string]*clients
}

// clients are one region's.
type clients struct {
	ec2 *ec2.Client
	ebs *ebs.Client
	ssm *ssm.Client
}

// maxConnections to one host that are kept: as many as an upload may have workers.
const maxConnections = 128

// writeBytes is what goes to a connection at once. A block of a disk has 512
// KiB, which the default would write in 128 pieces.
const writeBytes = 64 << 10

// Open finds credentials and asks who they are, in the region given.
func Open(ctx context.Context, access Access, region string, limits Limits) (*Cloud, error) {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost, t.MaxIdleConns, t.WriteBufferSize = maxConnections, 2*maxConnections, writeBytes
	})
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(region), config.WithHTTPClient(client), config.WithAppID(access.Agent),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	)
	if err != nil {
		return nil, fault.Errorf(fault.Environment, "read the AWS configuration: %w; mend the shared configuration file or the AWS_ variables of the environment", err)
	}
	if access.Role != "" {
		anonymous := cfg.Copy()
		anonymous.Credentials = aws.AnonymousCredentials{}
		provider := stscreds.NewWebIdentityRoleProvider(sts.NewFromConfig(anonymous), access.Role, &token{get: access.Token, limit: limits.orDefaults().Attempt},
			func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = cmp.Or(access.Session, "imagebuild") })
		// A long build goes on past a session's hour: a new token each time.
		cfg.Credentials = aws.NewCredentialsCache(provider, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
	}
	c := &Cloud{Limits: limits.orDefaults(), config: cfg, clients: map[string]*clients{}}
	return c, c.identify(ctx, access, region)
}

// identify learns who we are, and so whether the credentials are good at all.
func (c *Cloud) identify(ctx context.Context, access Access, region string) error {
	if access.Role == "" {
		if _, err := c.config.Credentials.Retrieve(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fault.Errorf(fault.Environment, "there are no AWS credentials: %w; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or in a workflow the input aws-role with the permission id-token: write", rootCause(err))
		}
	}
	if access.Role != "" {
		if _, err := Do(ctx, c, region, assume, c.config.Credentials.Retrieve); err != nil {
			return err
		}
	}
	out, err := Do(ctx, c, region, "sts:GetCallerIdentity", func(ctx context.Context) (*sts.GetCallerIdentityOutput, error) {
		return sts.NewFromConfig(c.config).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	})
	if err != nil {
		return err
	}
	c.Account, c.Caller = aws.ToString(out.Account), aws.ToString(out.Arn)
	return nil
}

// token is the job's identity as the SDK asks for it, without a context.
type token struct {
	get   func(context.Context, string) (string, error)
	limit time.Duration
}

// GetIdentityToken implements stscreds.IdentityTokenRetriever.
func (t *token) GetIdentityToken() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.limit)
	defer cancel()
	text, err := t.get(ctx, Audience)
	return []byte(text), err
}

func (c *Cloud) region(name string) *clients {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.clients[name]
	if found == nil {
		cfg := c.config.Copy()
		cfg.Region = name
		found = &clients{ec2: ec2.NewFromConfig(cfg), ebs: ebs.NewFromConfig(cfg), ssm: ssm.NewFromConfig(cfg)}
		c.clients[name] = found
	}
	return found
}

// EC2 is the client for a region's images and snapshots.
func (c *Cloud) EC2(region string) *ec2.Client { return c.region(region).ec2 }

// EBS is the client for a region's EBS direct.
func (c *Cloud) EBS(region string) *ebs.Client { return c.region(region).ebs }

// SSM is the client for a region's parameters.
func (c *Cloud) SSM(region string) *ssm.Client { return c.region(region).ssm }

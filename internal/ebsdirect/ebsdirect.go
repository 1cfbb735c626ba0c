// Package ebsdirect writes a disk into an EBS snapshot block by block, with no
// instance, no bucket and no import task: the EBS direct APIs.
//
//	id, err := ebsdirect.Start(ctx, cloud, ebsdirect.New{Region: "eu-west-1", SizeGiB: 8, Token: run, Tags: tags})
//	sum, err := ebsdirect.Upload(ctx, cloud, ebsdirect.Request{Region: "eu-west-1", Snapshot: id, Disk: disk})
//	err = ebsdirect.Complete(ctx, cloud, "eu-west-1", id, sum)
//
// Blocks of zeros are not sent: a new volume is zero. As many blocks are in
// flight as the service takes: the number grows with success, halves when AWS
// asks for fewer calls and shrinks a little when an attempt gets no answer in
// time. Memory is 64 blocks of 512 KiB, whatever the disk's size.
//
// It refuses to send a block twice under two digests, and to go on where
// nothing was taken for Limits.Stall.
package ebsdirect

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/org/imagebuild-action/internal/amazon"
)

// BlockBytes is the size of every block: the service has no other (EBS direct
// API reference, StartSnapshot, BlockSize).
const BlockBytes = 512 << 10

// New is a snapshot to begin.
type New struct {
	Region      string
	SizeGiB     int64
	Description string
	Token       string // the same one finds the snapshot again; at most 255 characters
	Tags        map[string]string
	Encrypted   bool
	Key         string // ARN of a KMS key; empty is the account's default
	Minutes     int32  // without a put, after which AWS gives the snapshot up; 10 to 4320
}

// Start begins a snapshot.
func Start(ctx context.Context, cloud *amazon.Cloud, n New) (id string, err error) {
	in := &ebs.StartSnapshotInput{
		VolumeSize: aws.Int64(n.SizeGiB), Description: aws.String(n.Description), ClientToken: aws.String(n.Token), Timeout: aws.Int32(n.Minutes), Tags: tags(n.Tags),
	}
	if n.Encrypted {
		in.Encrypted = aws.Bool(true)
	}
	if n.Key != "" {
		in.KmsKeyArn = aws.String(n.Key)
	}
	out, err := amazon.Do(ctx, cloud, n.Region, "ebs:StartSnapshot", func(ctx context.Context) (*ebs.StartSnapshotOutput, error) {
		return cloud.EBS(n.Region).StartSnapshot(ctx, in)
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.SnapshotId), nil
}

func tags(from map[string]string) []types.Tag {
	var list []types.Tag
	for key, value := range from {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return list
}

// Complete says that all blocks are there, with their checksum. AWS goes on
// to store them; the snapshot is pending until then.
func Complete(ctx context.Context, cloud *amazon.Cloud, region, id string, sum Sum) error {
	_, err := amazon.Do(ctx, cloud, region, "ebs:CompleteSnapshot", func(ctx context.Context) (*ebs.CompleteSnapshotOutput, error) {
		return cloud.EBS(region).CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{
			SnapshotId: aws.String(id), ChangedBlocksCount: aws.Int32(int32(sum.Blocks)), //nolint:gosec // a volume of 64 TiB has 2^27 blocks
			Checksum: aws.String(sum.Checksum), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
			ChecksumAggregationMethod: types.ChecksumAggregationMethodChecksumAggregationLinear,
		})
	})
	return err
}

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
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/org/imagebuild-action/internal/amazon"
	"github.com/org/imagebuild-action/internal/image"
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

// Sum is what a snapshot consists of.
type Sum struct {
	Blocks   int64  // that are not zero
	Checksum string // base64 of the SHA-256 over all blocks' SHA-256, in order
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

// Checksum reads a disk and sends nothing: what Upload would come to.
func Checksum(ctx context.Context, disk image.Disk) (Sum, error) {
	buffer := make([]byte, BlockBytes)
	s := newSender(disk)
	for {
		_, err := s.next(ctx, buffer)
		if errors.Is(err, io.EOF) {
			return s.sum(), nil
		}
		if err != nil {
			return Sum{}, err
		}
	}
}

// sender reads a disk's blocks in order, and sums them up.
type sender struct {
	disk   image.Disk
	blocks *image.Blocks
	linear interface {
		io.Writer
		Sum([]byte) []byte
	}
	count int64
}

// block is one to be sent.
type block struct {
	index    int32
	checksum string // base64 of its SHA-256
}

func newSender(disk image.Disk) *sender {
	return &sender{disk: disk, blocks: image.NewBlocks(disk, BlockBytes), linear: sha256.New()}
}

// next reads the next block that is not zero into buffer, or returns io.EOF.
func (s *sender) next(ctx context.Context, buffer []byte) (block, error) {
	for {
		if ctx.Err() != nil {
			return block{}, context.Cause(ctx)
		}
		offset, err := s.blocks.Next()
		if err != nil {
			return block{}, err
		}
		if err := image.ReadBlock(s.disk, buffer, offset); err != nil {
			return block{}, err
		}
		if image.IsZero(buffer) {
			continue
		}
		digest := sha256.Sum256(buffer)
		_, _ = s.linear.Write(digest[:]) // a hash never fails
		s.count++
		return block{int32(offset / BlockBytes), base64.StdEncoding.EncodeToString(digest[:])}, nil //nolint:gosec // see Complete
	}
}

func (s *sender) sum() Sum {
	return Sum{Blocks: s.count, Checksum: base64.StdEncoding.EncodeToString(s.linear.Sum(nil))}
}

// String is the sum in a log.
func (s Sum) String() string { return fmt.Sprintf("%d blocks, %s", s.Blocks, s.Checksum) }

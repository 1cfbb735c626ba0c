package awstest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// blockBytes is EBS direct's only block size.
const blockBytes = 512 << 10

// snapshot is one volume's content.
type snapshot struct {
	id          string
	description string
	state       string // pending, completed
	sizeGiB     int64
	encrypted   bool
	key         string
	tags        map[string]string
	started     time.Time
	hidden      int // how often it will be asked for in vain
	pending     int // how often it will be seen as pending once it was completed
	content     *content
	volume      string // it was taken of; empty: it was written
	owner       string // empty: the account
}

// content is shared by a snapshot and its copies.
type content struct {
	file   *os.File
	blocks map[int64][sha256.Size]byte // by index
}

func (s *Server) newContent() *content {
	s.next++
	file, err := os.Create(filepath.Join(s.dir, fmt.Sprintf("blocks-%d", s.next)))
	if err != nil {
		s.t.Fatalf("awstest: %v", err)
	}
	return &content{file: file, blocks: map[int64][sha256.Size]byte{}}
}

func (s *Server) closeFiles() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		for _, each := range r.snapshots {
			_ = each.content.file.Close() // copies share one
		}
	}
}

// snapshot is one that the caller can see by now.
func (r *region) snapshot(id string) *snapshot {
	found := r.snapshots[id]
	if found == nil || found.owner != "" {
		return nil
	}
	if found.hidden > 0 {
		found.hidden--
		return nil
	}
	return found
}

func noSnapshot(id string) *failure {
	return refuse(0, "ResourceNotFoundException", "The snapshot '%s' does not exist.", id).because("SNAPSHOT_NOT_FOUND")
}

func invalid(reason, format string, args ...any) *failure {
	return refuse(0, "ValidationException", format, args...).because(reason)
}

func (s *Server) startSnapshot(c *call) (object, *failure) {
	token := text(c.in["ClientToken"])
	summary := fmt.Sprint(c.in)
	if made, ok := c.region.tokens["ebs "+token]; ok && token != "" {
		id, before, _ := strings.Cut(made, " ")
		if before != summary {
			return nil, refuse(0, "ConflictException", "The client token was used with other parameters.")
		}
		if c.region.snapshots[id] != nil {
			return s.started(c.region.snapshots[id]), nil
		}
	}
	pending := 0
	for _, each := range c.region.snapshots {
		if each.state == "pending" {
			pending++
		}
	}
	switch {
	case pending >= s.opts.Quota:
		return nil, refuse(0, "ConcurrentLimitExceededException", "You have reached the limit for concurrent API requests.")
	case c.in["ParentSnapshotId"] != nil:
		if c.region.snapshots[text(c.in["ParentSnapshotId"])] == nil {
			return nil, noSnapshot(text(c.in["ParentSnapshotId"]))
		}
		if truth(c.in["Encrypted"]) {
			return nil, invalid("INVALID_PARAMETER_VALUE", "Encrypted and ParentSnapshotId exclude each other.")
		}
	case c.in["KmsKeyArn"] != nil && !truth(c.in["Encrypted"]):
		return nil, invalid("INVALID_PARAMETER_VALUE", "KmsKeyArn wants Encrypted.")
	}
	made := &snapshot{
		id: s.newID("snap"), description: text(c.in["Description"]), state: "pending", sizeGiB: number(c.in["VolumeSize"]),
		encrypted: truth(c.in["Encrypted"]) || s.opts.EncryptByDefault, key: text(c.in["KmsKeyArn"]), tags: map[string]string{},
		started: s.opts.Now().UTC(), hidden: s.opts.Lag, pending: s.opts.Lag, content: s.newContent(),
	}
	if made.encrypted && made.key == "" {
		made.key = defaultKey(c.region.name)
	}
	for _, each := range list(c.in["Tags"]) {
		made.tags[text(part(each)["Key"])] = text(part(each)["Value"])
	}
	c.region.snapshots[made.id] = made
	if token != "" {
		c.region.tokens["ebs "+token] = made.id + " " + summary
	}
	return s.started(made), nil
}

func defaultKey(region string) string {
	return arn("kms", region, "key/00000000-0000-4000-8000-000000000000")
}

func (s *Server) started(made *snapshot) object {
	out := object{
		"SnapshotId": made.id, "OwnerId": Account, "Status": made.state, "StartTime": made.started, "VolumeSize": made.sizeGiB, "BlockSize": int64(blockBytes), "SseType": "sse-ebs",
	}
	if made.description != "" {
		out["Description"] = made.description
	}
	if made.encrypted {
		out["KmsKeyArn"], out["SseType"] = made.key, "sse-kms"
	}
	return out
}

func (s *Server) putBlock(c *call) (object, *failure) {
	found := c.region.snapshot(text(c.in["SnapshotId"]))
	index, data := number(c.in["BlockIndex"]), c.in["BlockData"].([]byte)
	switch {
	case found == nil:
		return nil, noSnapshot(text(c.in["SnapshotId"]))
	case found.state != "pending":
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot is not pending.")
	case index < 0 || index*blockBytes >= found.sizeGiB<<30:
		return nil, invalid("INVALID_BLOCK", "Block %d is not within the volume.", index)
	case number(c.in["DataLength"]) != blockBytes || len(data) != blockBytes:
		return nil, invalid("INVALID_PARAMETER_VALUE", "A block has %d bytes, not %d.", blockBytes, len(data))
	}
	// The lock is let go for what takes long: the digest and the disk.
	s.mu.Unlock()
	digest := sha256.Sum256(data)
	var err error
	if !s.opts.Discard {
		_, err = found.content.file.WriteAt(data, index*blockBytes)
	}
	s.mu.Lock()
	if err != nil {
		return nil, c.internal()
	}
	encoded := base64.StdEncoding.EncodeToString(digest[:])
	if text(c.in["Checksum"]) != encoded {
		return nil, invalid("INVALID_BLOCK", "The checksum is not the block's.")
	}
	if found.state != "pending" {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot is not pending.")
	}
	found.content.blocks[index] = digest
	return object{"Checksum": encoded, "ChecksumAlgorithm": "SHA256"}, nil
}

func (s *Server) completeSnapshot(c *call) (object, *failure) {
	found := c.region.snapshot(text(c.in["SnapshotId"]))
	switch {
	case found == nil:
		return nil, noSnapshot(text(c.in["SnapshotId"]))
	case found.state != "pending":
		return object{"Status": "completed"}, nil
	case number(c.in["ChangedBlocksCount"]) != int64(len(found.content.blocks)):
		return nil, invalid("INVALID_PARAMETER_VALUE", "%d blocks were put, not %d.", len(found.content.blocks), number(c.in["ChangedBlocksCount"]))
	}
	if c.in["Checksum"] != nil && text(c.in["Checksum"]) != found.content.linear() {
		return nil, invalid("INVALID_PARAMETER_VALUE", "The checksum is not that of the blocks.")
	}
	found.state = "completed"
	return object{"Status": "pending"}, nil
}

// linear is the checksum of the aggregation LINEAR: over the blocks' digests
// in the order of their indexes.
func (c *content) linear() string {
	digest := sha256.New()
	for _, index := range c.indexes() {
		sum := c.blocks[index]
		digest.Write(sum[:])
	}
	return base64.StdEncoding.EncodeToString(digest.Sum(nil))
}

func (c *content) indexes() []int64 {
	indexes := make([]int64, 0, len(c.blocks))
	for index := range c.blocks {
		indexes = append(indexes, index)
	}
	slices.Sort(indexes)
	return indexes
}

func (s *Server) listBlocks(c *call) (object, *failure) {
	found := c.region.snapshot(text(c.in["SnapshotId"]))
	if found == nil {
		return nil, noSnapshot(text(c.in["SnapshotId"]))
	}
	if found.state != "completed" {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot is not completed.")
	}
	from, limit := number(c.in["StartingBlockIndex"]), number(c.in["MaxResults"])
	if limit == 0 {
		limit = 10000
	}
	if page, err := base64.StdEncoding.DecodeString(text(c.in["NextToken"])); err == nil && len(page) > 0 {
		from, _ = strconv.ParseInt(string(page), 10, 64) // ours
	}
	blocks := []any{}
	out := object{"BlockSize": int64(blockBytes), "VolumeSize": found.sizeGiB, "ExpiryTime": s.opts.Now().Add(7 * 24 * time.Hour).UTC()}
	for _, index := range found.content.indexes() {
		if index < from {
			continue
		}
		if int64(len(blocks)) == limit {
			out["NextToken"] = base64.StdEncoding.EncodeToString([]byte(strconv.FormatInt(index, 10)))
			break
		}
		blocks = append(blocks, object{"BlockIndex": index, "BlockToken": blockToken(found.id, index)})
	}
	out["Blocks"] = blocks
	return out, nil
}

func blockToken(id string, index int64) string {
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %d", id, index))
	return base64.StdEncoding.EncodeToString(digest[:])
}

func (s *Server) getBlock(c *call) (object, *failure) {
	found := c.region.snapshot(text(c.in["SnapshotId"]))
	index := number(c.in["BlockIndex"])
	if found == nil {
		return nil, noSnapshot(text(c.in["SnapshotId"]))
	}
	digest, ok := found.content.blocks[index]
	if !ok || text(c.in["BlockToken"]) != blockToken(found.id, index) {
		return nil, invalid("INVALID_BLOCK_TOKEN", "The token is not the block's.")
	}
	data := make([]byte, blockBytes)
	if _, err := found.content.file.ReadAt(data, index*blockBytes); err != nil {
		return nil, c.internal()
	}
	return object{
		"BlockData": data, "DataLength": int64(blockBytes), "Checksum": base64.StdEncoding.EncodeToString(digest[:]), "ChecksumAlgorithm": "SHA256",
	}, nil
}

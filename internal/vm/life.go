package vm

import (
	"context"
	"encoding/json"
	"fmt"
)

// DiskActivity counts the bytes that the guest has read from and written to
// its drives since it started. A guest whose console is silent, but whose disk
// is busy, is alive.
func (m *Machine) DiskActivity(ctx context.Context) (bytes int64, err error) {
	answer, err := m.control.execute(ctx, "query-blockstats", nil)
	if err != nil {
		return 0, err
	}
	var drives []struct {
		Stats struct {
			Read    int64 `json:"rd_bytes"`
			Written int64 `json:"wr_bytes"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(answer, &drives); err != nil {
		return 0, fmt.Errorf("qmp query-blockstats: %w", err)
	}
	for _, each := range drives {
		bytes += each.Stats.Read + each.Stats.Written
	}
	return bytes, nil
}

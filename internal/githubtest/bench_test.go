package githubtest_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/org/imagebuild-action/internal/githubtest"
)

// BenchmarkRequests is how fast twelve clients are answered.
func BenchmarkRequests(b *testing.B) {
	for _, trust := range []bool{false, true} {
		b.Run(fmt.Sprintf("trust=%t", trust), func(b *testing.B) {
			s := githubtest.New(b, githubtest.Options{TrustResponses: trust})
			var group sync.WaitGroup
			for range 12 {
				group.Go(func() {
					for range b.N {
						req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.APIURL()+"/repos/octo/images", nil)
						if err != nil {
							b.Error(err)
							return
						}
						resp, err := http.DefaultClient.Do(req)
						if err != nil {
							b.Error(err)
							return
						}
						resp.Body.Close()
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(12*b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

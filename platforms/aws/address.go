package aws

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
)

// AddressURL is where AWS says which address a caller has on the internet.
const AddressURL = "https://checkip.amazonaws.com"

const (
	addressLimit    = 15 * time.Second
	maxAddressBytes = 64
)

// address is the one that this machine has on the internet. No proxy is asked:
// ssh goes its own way, too.
func (p *Platform) address(ctx context.Context) (netip.Addr, error) {
	url := p.AddressURL
	if url == "" {
		url = AddressURL
	}
	addr, err := askAddress(ctx, url)
	if err == nil && (!addr.Is4() || !addr.IsGlobalUnicast() || addr.IsPrivate()) {
		err = fmt.Errorf("it says %s, which is no address on the internet", addr)
	}
	if err != nil && ctx.Err() == nil {
		err = fault.Errorf(fault.Environment, "which address this machine has on the internet, and so whom to let in, cannot be found out from %s: %w; name it with source.ami.allow", url, err)
	}
	return addr, err
}

func askAddress(ctx context.Context, url string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, addressLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return netip.Addr{}, err
	}
	transport := &http.Transport{Proxy: nil}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return netip.Addr{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return netip.Addr{}, fmt.Errorf("it answers %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAddressBytes))
	if err != nil {
		return netip.Addr{}, err
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err != nil {
		return addr, fmt.Errorf("its answer is no address")
	}
	return addr, nil
}

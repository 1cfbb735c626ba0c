// Package ssh acts inside a running machine: it satisfies guest.Guest over one
// SSH connection.
//
//	client, err := ssh.Dial(ctx, ssh.Config{Addr: "127.0.0.1:40123", User: "root", Signer: key})
//	err = client.Run(ctx, guest.Command{Argv: []string{"uname", "-r"}, Stdout: w})
//
// Dial keeps trying until the guest's server answers, each attempt bounded:
// QEMU accepts connections long before the guest listens. The host key is
// recorded at the first connection, because a new machine has a new one. It
// refuses password prompts, agents, forwarding of any kind, and servers whose
// banner does not end.
//
// The server is the guest, and so hostile: what it sends is bounded in memory,
// its words are printable before they are in an error, its file names are
// never used, and a call ends with its context even if the server never
// answers.
package ssh

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
)

var _ guest.Guest = (*Client)(nil)

// Config says whom to connect to.
type Config struct {
	Addr    string        // host:port
	User    string        // commands are run through sudo unless this is root
	Signers []ssh.Signer  // tried in order
	HostKey ssh.PublicKey // expected; nil records whichever comes first
	// AttemptTimeout bounds the wait for a server's first byte, and the
	// handshake after it; zero means 30 s, because both are slow in a guest
	// that is emulated.
	AttemptTimeout time.Duration
	// KeepAlive is the time between two proofs of life; zero means 15 s. After
	// three without an answer the connection is given up.
	KeepAlive time.Duration
}

// Client is a connection. It is safe for concurrent use.
type Client struct {
	config  Config
	conn    *ssh.Client
	hostKey ssh.PublicKey
	stop    context.CancelFunc
	alive   sync.WaitGroup

	transfers transfers
}

const (
	defaultAttempt   = 30 * time.Second
	defaultKeepAlive = 15 * time.Second
	keepAliveMisses  = 3
	firstBackoff     = 200 * time.Millisecond
	maxBackoff       = 2 * time.Second
	maxHandshake     = 256 << 10 // bytes from the server before it has authenticated us
)

// ErrAuth is a server that is up and does not let us in.
var ErrAuth = errors.New("the guest's ssh server does not accept the key")

// maxRefusals is how often a server may refuse us before Dial believes it:
// while a machine boots, keys may arrive after the server does (cloud-init).
const maxRefusals = 20

// Dial connects as soon as the guest's server answers; ctx bounds the wait.
func Dial(ctx context.Context, config Config) (*Client, error) {
	if config.AttemptTimeout == 0 {
		config.AttemptTimeout = defaultAttempt
	}
	if config.KeepAlive == 0 {
		config.KeepAlive = defaultKeepAlive
	}
	var last error
	refusals := 0
	backoff := firstBackoff
	for {
		client, err := attempt(ctx, config, &last)
		if err == nil {
			return client, nil
		}
		if ctx.Err() != nil {
			return nil, waitError(ctx, config, last)
		}
		last = err
		if refused(err) {
			if refusals++; refusals >= maxRefusals {
				return nil, fault.Errorf(fault.Guest, "ssh %s@%s: %w: %w", config.User, config.Addr, ErrAuth, err)
			}
		}
		if errors.Is(err, ErrHostKey) {
			return nil, fault.Wrap(fault.Guest, fmt.Errorf("ssh %s@%s: %w", config.User, config.Addr, err))
		}
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, waitError(ctx, config, last)
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func refused(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate")
}

func waitError(ctx context.Context, config Config, last error) error {
	cause := context.Cause(ctx)
	if last == nil {
		return fmt.Errorf("ssh %s@%s: %w", config.User, config.Addr, cause)
	}
	return fmt.Errorf("ssh %s@%s: %w (last attempt: %w)", config.User, config.Addr, cause, last)
}

// ErrHostKey is a server that is another one than Config.HostKey says.
var ErrHostKey = errors.New("the host key is not the expected one")

// attempt waits until a server speaks and shakes hands with it. last receives
// why it has been waiting.
func attempt(ctx context.Context, config Config, last *error) (*Client, error) {
	raw, err := connect(ctx, config.Addr, config.AttemptTimeout, func(err error) { *last = err })
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, config.AttemptTimeout)
	defer cancel()
	// The handshake knows no context: closing the connection ends it.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	limited := &limitedConn{Conn: raw, left: maxHandshake}
	c := &Client{config: config}
	clientConfig := &ssh.ClientConfig{
		User:          config.User,
		Auth:          []ssh.AuthMethod{ssh.PublicKeys(config.Signers...)},
		ClientVersion: "SSH-2.0-imagebuild",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if config.HostKey != nil && subtle.ConstantTimeCompare(config.HostKey.Marshal(), key.Marshal()) != 1 {
				return ErrHostKey
			}
			c.hostKey = key
			return nil
		},
	}
	if config.HostKey != nil {
		clientConfig.HostKeyAlgorithms = algorithms(config.HostKey)
	}
	conn, channels, requests, err := ssh.NewClientConn(limited, config.Addr, clientConfig)
	if err != nil {
		_ = raw.Close()
		err = foreign(err)
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s (%w)", config.AttemptTimeout, err)
		}
		return nil, err
	}
	limited.lift()
	c.conn = ssh.NewClient(conn, channels, requests)
	keepCtx, stopKeep := context.WithCancel(context.Background())
	c.stop = stopKeep
	c.alive.Add(1)
	go c.keepAlive(keepCtx)
	return c, nil
}

// keepAlive closes the connection when the other side stops answering, so that
// every call on it returns.
func (c *Client) keepAlive(ctx context.Context) {
	defer c.alive.Done()
	ticker := time.NewTicker(c.config.KeepAlive)
	defer ticker.Stop()
	answers := make(chan error, keepAliveMisses+1)
	missing := 0
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-answers:
			if missing = 0; err != nil {
				return
			}
		case <-ticker.C:
			if missing++; missing > keepAliveMisses {
				_ = c.conn.Close()
				return
			}
			go func() {
				_, _, err := c.conn.SendRequest("keepalive@openssh.com", true, nil)
				answers <- err
			}()
		}
	}
}

// HostKey is what the server identified itself with.
func (c *Client) HostKey() ssh.PublicKey { return c.hostKey }

// Close ends the connection.
func (c *Client) Close() error {
	c.stop()
	err := c.conn.Close()
	c.alive.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// NewSeed is where a key for one machine's life comes from.
func NewSeed() ([]byte, error) {
	seed := make([]byte, ed25519.SeedSize)
	_, err := rand.Read(seed)
	return seed, err
}

// SeedKey is the key that a seed stands for: a signer, and its line for an
// authorized_keys file.
func SeedKey(seed []byte) (ssh.Signer, string, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, "", fmt.Errorf("a key's seed has %d bytes, not %d", ed25519.SeedSize, len(seed))
	}
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return nil, "", err
	}
	public := signer.PublicKey()
	return signer, public.Type() + " " + base64.StdEncoding.EncodeToString(public.Marshal()) + " imagebuild\n", nil
}

// ParseKey reads a private key file without a passphrase.
func ParseKey(content []byte) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(content)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fault.Errorf(fault.Input, "the private key is protected by a passphrase; use one without")
	}
	return signer, fault.Wrap(fault.Input, err)
}

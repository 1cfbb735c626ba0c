// Package guestweb is a small web server that one virtual machine can reach,
// and nobody else: it hands an installer its answers over HTTP.
//
//	web, err := guestweb.Start(map[string][]byte{"preseed.cfg": answers}, note)
//	defer web.Close()
//	config.Services = []vm.Service{{Address: guestweb.Address, Port: guestweb.Port, Command: web.Command()}}
//	config.Append += " url=" + guestweb.URL("preseed.cfg")
//
// There is no port on any of the host's networks. The emulator starts a relay,
// which is this program again, for every connection that the guest opens; the
// relay joins it to a socket in a folder that only this user may enter, and a
// peer of another user is turned away. So it works where the guest's network
// is cut off from the world, too.
//
// It serves exactly the files given, from memory, to GET and HEAD, and refuses
// everything else: other paths, listings, bodies, long headers, and more than a
// few connections at a time. What was asked for is told, with a bound. Serve has
// another handler in place of the files, and the other limits.
package guestweb

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// Where the guest finds the server: an address of QEMU's user network that
// QEMU does not use itself.
const (
	Address = "10.0.2.100"
	Port    = 80
)

// URL is a file's address as the guest sees it.
func URL(name string) string { return "http://" + Address + "/" + strings.TrimPrefix(name, "/") }

const (
	maxConnections = 16
	maxHeaderBytes = 16 << 10
	maxTold        = 200 // requests that are told of; a guest may ask for ever
	maxPath        = 200 // bytes of a path that is told
	headerTimeout  = 10 * time.Second
	writeTimeout   = 2 * time.Minute // for one file; an emulated guest is slow
	idleTimeout    = 30 * time.Second
)

// Read is a request of the guest's. Path is its text, and untrusted.
type Read struct {
	Method, Path string
	Status       int
}

// Server is a running server. Close it.
type Server struct {
	socket string
	remove func() error
	http   *http.Server
	done   chan error
	slots  chan struct{}
}

// Start serves files, by their paths without a leading slash. note, which may
// be nil, is told of every request, one at a time.
func Start(files map[string][]byte, note func(Read)) (*Server, error) {
	return Serve(&fileHandler{files: files, note: note})
}

// Serve answers what the guest asks for by a handler.
func Serve(handler http.Handler) (*Server, error) {
	dir, remove, err := run.TempDir(os.TempDir(), "guestweb-") // mode 0700
	if err != nil {
		return nil, err
	}
	s := &Server{socket: filepath.Join(dir, "s"), remove: remove, done: make(chan error, 1), slots: make(chan struct{}, maxConnections)}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		return nil, fault.Wrap(fault.Environment, errors.Join(fmt.Errorf("serve the installer's answers: %w; a shorter TMPDIR may help", err), remove()))
	}
	s.http = &http.Server{
		Handler: handler, MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		DisableGeneralOptionsHandler: true,
	}
	go func() { s.done <- s.http.Serve(&gate{listener, s.slots}) }()
	return s, nil
}

// Command is what the emulator starts for every connection.
func (s *Server) Command() []string {
	self, err := os.Executable()
	if err != nil {
		self = "/proc/self/exe" // which says in its error what is wrong
	}
	return []string{self, relayArgument, s.socket}
}

// Close ends every connection and removes the socket.
func (s *Server) Close() error {
	err := s.http.Close()
	if serveErr := <-s.done; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return errors.Join(err, s.remove())
}

package awstest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Hypervisor runs what instances are made of. Calls about one guest come one
// after another; those about several may come at once. Only what is started is
// stopped and destroyed.
type Hypervisor interface {
	// Start switches a guest on and says at which address it is reached; that
	// its system is up by then is not asked. The context ends with the cloud.
	Start(ctx context.Context, guest Guest) (address string, err error)
	// Stop presses the power button, or what helps instead, and returns when
	// the disk is written no more.
	Stop(ctx context.Context, id string) error
	// Destroy pulls the plug; of a guest that is off, it lets go.
	Destroy(id string)
}

// Console is a Hypervisor that has what guests said on their serial port.
type Console interface {
	Console(id string) string
}

// Guest is what an instance is inside.
type Guest struct {
	ID               string
	Region           string
	Zone             string
	ImageID          string
	InstanceType     string
	PrivateAddress   string
	Groups           []string // names of its security groups
	Disk             string   // raw, sparse and the guest's alone
	KeyName          string
	PublicKey        string // as authorized_keys has it; empty without a key
	UserData         []byte
	MetadataVersion2 bool // the metadata service demands a token
	UEFI             bool
	// Off is to be called when the guest has switched itself off.
	Off func()
}

// background does what takes long for an instance, after what it does already.
// It is called with the lock held; job is not.
func (s *Server) background(i *instance, job func()) {
	before, done := i.last, make(chan struct{})
	i.last = done
	i.jobs++
	s.jobs.Add(1)
	go func() {
		defer s.jobs.Done()
		defer close(done)
		if before != nil {
			<-before
		}
		job()
		s.mu.Lock()
		defer s.mu.Unlock()
		i.jobs--
	}()
}

// powerOn starts what an instance is inside.
func (s *Server) powerOn(r *region, i *instance, guest Guest) {
	if s.opts.Hypervisor == nil {
		i.address = loopback
		return
	}
	from := r.snapshots[i.root.snapshot].content
	i.root.path = filepath.Join(s.dir, i.root.id)
	guest.Disk = i.root.path
	guest.Off = func() { s.poweredOff(i) }
	sizeBytes := i.root.sizeGiB << 30
	s.background(i, func() {
		err := from.writeTo(guest.Disk, sizeBytes)
		address := ""
		if err == nil {
			address, err = s.opts.Hypervisor.Start(s.life, guest)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		i.address, i.started = address, err == nil
		if err != nil {
			i.stillborn, i.told = true, err.Error()
		}
	})
}

// loopback is where instances without an inside are.
const loopback = "127.0.0.1"

// powerOff stops what an instance is inside.
func (s *Server) powerOff(i *instance) {
	if s.opts.Hypervisor == nil {
		return
	}
	s.background(i, func() {
		if err := s.opts.Hypervisor.Stop(s.life, i.id); err != nil && s.life.Err() == nil {
			s.violate("stop %s: %v", i.id, err)
		}
	})
}

// powerGone ends what an instance is inside.
func (s *Server) powerGone(i *instance) {
	if s.opts.Hypervisor == nil {
		return
	}
	s.background(i, func() {
		s.mu.Lock()
		started := i.started
		i.started = false
		s.mu.Unlock()
		if started {
			s.opts.Hypervisor.Destroy(i.id)
		}
	})
}

// poweredOff is what a guest did by itself.
func (s *Server) poweredOff(i *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.state != running && i.state != pending || s.life.Err() != nil {
		return
	}
	i.reason = [2]string{"Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"}
	if i.terminates {
		s.end(i)
		return
	}
	i.state, i.wait = stopping, s.opts.Lag
}

// endAll leaves no guest running; it is called when the server serves no more.
func (s *Server) endAll() {
	s.endLife()
	s.jobs.Wait()
	if s.opts.Hypervisor == nil {
		return
	}
	for _, r := range s.regions {
		for _, i := range r.instances {
			if i.started {
				s.opts.Hypervisor.Destroy(i.id)
			}
		}
	}
}

// writeTo makes a disk of a snapshot.
func (c *content) writeTo(path string, sizeBytes int64) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(sizeBytes); err != nil {
		return err
	}
	for _, index := range c.indexes() {
		at := index * blockBytes
		if _, err := io.Copy(io.NewOffsetWriter(out, at), io.NewSectionReader(c.file, at, blockBytes)); err != nil {
			return fmt.Errorf("block %d: %w", index, err)
		}
	}
	return out.Close()
}

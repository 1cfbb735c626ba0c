package container

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// KVM is the device that a sibling is for.
const KVM = "/dev/kvm"

// mountCapability is the least that allows mount namespaces and mounts.
const mountCapability = "SYS_ADMIN"

// wish is what one attempt asks for beyond what we have.
type wish struct {
	devices  []string
	mounts   bool
	apparmor bool // whether the daemon confines containers with it
}

// siblingOptions describes the sibling of self. It is a pure function.
func siblingOptions(self *Self, request *Request, name string, w wish, grant Grant) client.ContainerCreateOptions {
	argv := request.Argv
	if len(argv) == 0 {
		argv = self.Command
	}
	// With the labels of ours a runner's own clean-up finds the sibling too.
	labels := maps.Clone(self.config.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[RunLabel] = request.RunID
	config := &container.Config{
		Image:      self.Image,
		Entrypoint: argv[:1],
		Cmd:        argv[1:],
		Env:        grantEnv(request.Environ, grant),
		User:       self.config.User,
		WorkingDir: self.config.WorkingDir,
		Labels:     labels,
		// The open standard input is what Tether watches.
		AttachStdin: true, OpenStdin: true, StdinOnce: true,
		AttachStdout: true, AttachStderr: true,
	}
	if request.Dir != "" {
		config.WorkingDir = request.Dir
	}
	return client.ContainerCreateOptions{Name: name, Config: config, HostConfig: hostConfig(self, w)}
}

func hostConfig(self *Self, w wish) *container.HostConfig {
	old := self.host
	host := &container.HostConfig{
		VolumesFrom: []string{self.ID},
		NetworkMode: "container:" + container.NetworkMode(self.ID),
		// It vanishes even when nobody is left to remove it. Its output reaches
		// us by the attached streams; a copy on the host's disk is of no use.
		AutoRemove: true,
		LogConfig:  container.LogConfig{Type: "none"},

		CapAdd:         slices.Clone(old.CapAdd),
		CapDrop:        slices.Clone(old.CapDrop),
		SecurityOpt:    slices.Clone(old.SecurityOpt),
		CgroupnsMode:   old.CgroupnsMode,
		GroupAdd:       slices.Clone(old.GroupAdd),
		ReadonlyRootfs: old.ReadonlyRootfs,
		Runtime:        old.Runtime,
		ShmSize:        old.ShmSize,
		Tmpfs:          maps.Clone(old.Tmpfs),
		UsernsMode:     old.UsernsMode,
		Resources:      limits(old.Resources),
	}
	if old.NetworkMode.IsHost() || old.NetworkMode.IsNone() {
		host.NetworkMode = old.NetworkMode
	}
	for _, device := range w.devices {
		host.Devices = append(host.Devices, container.DeviceMapping{PathOnHost: device, PathInContainer: device, CgroupPermissions: "rw"})
	}
	if w.mounts {
		if !slices.Contains(host.CapAdd, mountCapability) && !slices.Contains(host.CapAdd, "CAP_"+mountCapability) {
			host.CapAdd = append(host.CapAdd, mountCapability)
		}
		if w.apparmor {
			host.SecurityOpt = slices.DeleteFunc(host.SecurityOpt, func(each string) bool { return strings.HasPrefix(each, "apparmor") })
			host.SecurityOpt = append(host.SecurityOpt, "apparmor=unconfined")
		}
	}
	return host
}

// limits carries over what bounds the container that we are in.
func limits(old container.Resources) container.Resources {
	return container.Resources{
		CPUShares: old.CPUShares, NanoCPUs: old.NanoCPUs, CPUPeriod: old.CPUPeriod, CPUQuota: old.CPUQuota,
		CpusetCpus: old.CpusetCpus, CpusetMems: old.CpusetMems, CgroupParent: old.CgroupParent,
		Memory: old.Memory, MemoryReservation: old.MemoryReservation, MemorySwap: old.MemorySwap,
		PidsLimit: old.PidsLimit, Ulimits: slices.Clone(old.Ulimits),
		Devices: slices.Clone(old.Devices), DeviceCgroupRules: slices.Clone(old.DeviceCgroupRules), DeviceRequests: slices.Clone(old.DeviceRequests),
	}
}

package seal

// rule says what of a tree goes, and why. Patterns are tree.Remove's.
type rule struct {
	why      string
	patterns []string
	treeOnly bool // of a tree alone: a running machine needs it, or has it in memory
}

// removed is what belongs to one machine or one build and not to an image.
var removed = []rule{
	{why: "every clone makes host keys of its own at its first boot", patterns: []string{"etc/ssh/ssh_host_*"}},
	{why: "D-Bus takes the id of /etc/machine-id", patterns: []string{"var/lib/dbus/machine-id"}},
	{why: "random seeds must not be shared", patterns: []string{"var/lib/systemd/random-seed", "var/lib/urandom/random-seed", "boot/efi/loader/random-seed"}},
	{why: "secrets of one machine", patterns: []string{
		"var/lib/systemd/credential.secret", "var/lib/NetworkManager/secret_key", "var/lib/private/systemd/**",
	}},
	{why: "histories of the build", patterns: []string{
		"root/.*_history", "home/*/.*_history", "root/.lesshst", "home/*/.lesshst", "root/.viminfo", "home/*/.viminfo",
		"root/.wget-hsts", "home/*/.wget-hsts", "root/.cache", "home/*/.cache", "root/.ansible", "home/*/.ansible",
		"root/.ssh/known_hosts*", "home/*/.ssh/known_hosts*", "root/.sudo_as_admin_successful", "home/*/.sudo_as_admin_successful",
	}},
	{why: "package caches and lists", patterns: []string{
		"var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/cache/apt/archives/partial/*", "var/cache/apt/archives/lock",
		"var/lib/apt/lists/*_*", "var/lib/apt/lists/lock", "var/lib/apt/lists/partial/*", "var/lib/apt/lists/auxfiles/*",
		"var/lib/apt/periodic/*", "var/lib/apt/daily_lock", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock", "etc/.pwd.lock",
		"var/cache/dnf/**", "var/cache/yum/**", "var/lib/dnf/history.sqlite*",
	}},
	{why: "backups that the package tools make", patterns: []string{
		"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "var/lib/dpkg/*-old",
		"var/cache/debconf/*-old", "var/backups/**", "var/lib/ucf/*.[0-9]", "etc/**/*.dpkg-old", "etc/**/*.ucf-old",
	}},
	{why: "caches that hold inode numbers and times", patterns: []string{
		"var/cache/ldconfig/aux-cache", "var/cache/man/**", "var/cache/fontconfig/**", "**/__pycache__",
	}},
	{why: "DHCP leases", patterns: []string{
		"var/lib/dhcp/*.leases*", "var/lib/dhcpcd/**", "var/lib/NetworkManager/*.lease", "var/lib/NetworkManager/timestamps",
		"var/lib/systemd/network/**",
	}},
	{why: "names of the build's network cards", patterns: []string{"etc/udev/rules.d/70-persistent-net.rules", "etc/udev/rules.d/75-persistent-net-generator.rules"}},
	{why: "traces of a running system", patterns: []string{
		"var/lib/systemd/timers/*", "var/lib/systemd/timesync/clock", "var/lib/systemd/coredump/*", "var/lib/systemd/pstore/*",
		"var/lib/systemd/rfkill/*", "var/lib/logrotate/status", "var/lib/sudo/lectured/*", "var/lib/private/systemd/timesync/clock",
		"var/crash/**", "var/spool/mail/*", "var/mail/*", "var/lib/plymouth/boot-duration",
	}},
	{why: "cloud-init runs again on every clone", patterns: []string{
		"var/lib/cloud/instance", "var/lib/cloud/instances/**", "var/lib/cloud/data/**", "var/lib/cloud/sem/**", "var/lib/cloud/seed/**",
	}},
	{why: "temporary files", patterns: []string{"tmp/**", "var/tmp/**"}},
	{why: "temporary files", patterns: []string{"run/**", "var/run/**", "var/lock/**"}, treeOnly: true},
	{why: "device nodes are made at boot", patterns: []string{"dev/**"}, treeOnly: true},
	{why: "what the kernel shows here", patterns: []string{"proc/**", "sys/**"}, treeOnly: true},
	{why: "left by an editor or by the build", patterns: []string{
		"etc/**/*.swp", "root/.*.swp", "home/*/.*.swp", "root/*~", "etc/**/*~", "usr/sbin/policy-rc.d.imagebuild-saved",
	}},
	{why: "rotated and per-machine logs", patterns: []string{
		"var/log/journal/*", "var/log/**/*.gz", "var/log/**/*.xz", "var/log/**/*.[0-9]", "var/log/**/*.old",
		"var/log/*.gz", "var/log/*.xz", "var/log/*.[0-9]", "var/log/*.old",
		"var/log/apt/*", "var/log/dpkg.log", "var/log/alternatives.log", "var/log/bootstrap.log", "var/log/installer", "var/log/cloud-init*.log",
	}},
}

// madeAtBoot are folders that a running system makes for itself. An empty one
// says no more than that it was booted, and goes, so that an image is the same
// whether it was configured in a machine or in a chroot. Inner ones come first.
var madeAtBoot = []string{
	"var/lib/systemd/linger", "var/lib/systemd/timers",
	"var/lib/cloud/scripts/per-boot", "var/lib/cloud/scripts/per-instance", "var/lib/cloud/scripts/per-once", "var/lib/cloud/scripts/vendor", "var/lib/cloud/scripts",
	"var/lib/cloud/data", "var/lib/cloud/handlers", "var/lib/cloud/instances", "var/lib/cloud/seed", "var/lib/cloud/sem", "var/lib/cloud",
}

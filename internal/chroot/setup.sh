# Runs as the first process of its own mount, PID, IPC and UTS namespaces, as
#   sh -c THIS imagebuild-chroot MODE ROOT RESOLV DIR [PROGRAM [ARGUMENT...]]
# File descriptor 3 takes "limit WHAT" lines and then "ready"; whatever fails
# before "ready" is a failure of the set-up, not of the program.
#   MODE    mounts, plain or probe (mounts, but no program)
#   RESOLV  real path of the guest's resolv.conf inside ROOT, or empty
#   DIR     working directory of the program
# GUEST_ENV holds export commands for the program; nothing else of the
# environment is the guest's, so that it cannot bend the tools used here.
# GUEST_TERMINAL is set when standard input is a terminal with a person at it.
set -eu
umask 022
mode=$1 root=$2 resolv=$3 dir=$4
shift 4
exec 4>&2 2>&3

limit() { echo "limit $1" >&3; }

populate_dev() {
	mount -n -t tmpfs -o mode=0755,nosuid dev "$root/dev"
	# Device nodes cannot be made inside a user namespace, only borrowed.
	(cd /dev && cp -a null zero full random urandom tty "$root/dev/") 2>/dev/null || (
		cd "$root/dev"
		rm -f null zero full random urandom tty
		for node in null zero full random urandom tty; do
			: >$node
			mount -n --bind /dev/$node $node
		done
	)
	mkdir "$root/dev/pts" "$root/dev/shm"
	ln -s /proc/self/fd "$root/dev/fd"
	ln -s fd/0 "$root/dev/stdin"
	ln -s fd/1 "$root/dev/stdout"
	ln -s fd/2 "$root/dev/stderr"
	ln -s pts/ptmx "$root/dev/ptmx"
	chmod 1777 "$root/dev/shm"
	mount -n -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts" 2>/dev/null ||
		mount -n -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts" ||
		limit "pseudo terminals (/dev/pts)"
}

# The scratch files are made on a file system which /proc then hides.
borrow_files() {
	mount -n -t tmpfs -o mode=0755 scratch "$root/proc"
	printf '#!/bin/sh\nexit 101\n' >"$root/proc/policy-rc.d"
	chmod 0755 "$root/proc/policy-rc.d"
	if [ -f "$root/usr/sbin/policy-rc.d" ] && [ ! -L "$root/usr/sbin/policy-rc.d" ]; then
		mount -n --bind "$root/proc/policy-rc.d" "$root/usr/sbin/policy-rc.d"
	fi
	cat /etc/resolv.conf >"$root/proc/resolv.conf" 2>/dev/null || :
	case $resolv in
	'') ;;
	/run/*)
		mkdir -p "$root${resolv%/*}"
		cat "$root/proc/resolv.conf" >"$root$resolv"
		;;
	*) mount -n --bind "$root/proc/resolv.conf" "$root$resolv" || limit "name resolution (/etc/resolv.conf)" ;;
	esac
}

if [ "$mode" != plain ]; then
	mount -n --make-rprivate /
	mount -n -t tmpfs -o mode=0755,nosuid,nodev run "$root/run"
	mkdir -m 1777 "$root/run/lock"
	borrow_files
	mount -n -t proc -o nosuid,nodev,noexec proc "$root/proc" 2>/dev/null ||
		mount -n --rbind /proc "$root/proc" || limit "process information (/proc)"
	mount -n -t sysfs -o ro,nosuid,nodev,noexec sys "$root/sys" 2>/dev/null ||
		mount -n --rbind /sys "$root/sys" || limit "device information (/sys)"
	populate_dev
	hostname localhost 2>/dev/null || :
fi
if [ "$mode" = probe ]; then
	echo ready >&3
	exit 0
fi

exec 2>&4 4>&-
chroot=$(command -v chroot) # the program's PATH is not for us
echo ready >&3

# The guest's variables come last, when only "$@" is needed: one may be called
# root.
enter() {
	exec 3>&-
	if [ "$dir" = / ]; then
		set -- "$chroot" "$root" "$@"
	else
		set -- "$chroot" "$root" /bin/sh -c 'cd "$1" || exit 125; shift; exec "$@"' sh "$dir" "$@"
	fi
	eval "$GUEST_ENV"
	unset GUEST_ENV GUEST_TERMINAL
	exec "$@"
}

# A shell ignores interrupts in what it runs in the background, for good; the
# programs that a person starts at a terminal must not inherit that.
[ -z "${GUEST_TERMINAL-}" ] || enter "$@"

trap 'exit 143' TERM
trap 'exit 130' INT
exec 5<&0
(
	trap - TERM INT
	exec 0<&5 5<&-
	enter "$@"
) &
exec 3>&- 5<&-
# The end of this process, the first of its PID namespace, ends all others.
wait $!

#!/bin/sh
# Creates a user who logs in by key and may use sudo: admin-user.sh NAME
# The public key comes in $ADMIN_KEY.
set -eu
user=$1

useradd --create-home --shell /bin/bash --groups sudo "$user"
install -d -m 0700 -o "$user" -g "$user" "/home/$user/.ssh"
printf '%s\n' "$ADMIN_KEY" >"/home/$user/.ssh/authorized_keys"
chown "$user:$user" "/home/$user/.ssh/authorized_keys"
chmod 0600 "/home/$user/.ssh/authorized_keys"

# There is no password to ask for.
printf '%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$user" >"/etc/sudoers.d/50-$user"
chmod 0440 "/etc/sudoers.d/50-$user"
visudo --check --quiet --file="/etc/sudoers.d/50-$user"

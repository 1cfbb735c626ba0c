#!/bin/sh
# Runs as root inside the image, offline: there is no running system yet, so
# enable services instead of starting them.
set -eu

install -d -m 0755 /etc/ssh/sshd_config.d
cat > /etc/ssh/sshd_config.d/10-base.conf <<'CONF'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
CONF

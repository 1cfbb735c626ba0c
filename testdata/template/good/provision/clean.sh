#!/bin/sh
rm -f /etc/udev/rules.d/70-persistent-net.rules

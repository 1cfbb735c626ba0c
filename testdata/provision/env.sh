#!/usr/bin/env sh
echo from env

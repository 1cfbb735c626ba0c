#!/bin/sh
echo "spaces work"

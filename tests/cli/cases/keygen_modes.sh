#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
umask 000
"$MOVER" keygen key >/dev/null
stat -c "%a %n" key key.pub
cut -d" " -f1 key.pub
head -n 1 key

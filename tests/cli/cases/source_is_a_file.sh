#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
mkdir source
"$MOVER" keygen key >/dev/null
"$MOVER" keygen host >/dev/null
echo text >plain
"$MOVER" push --identity key --known-host-key host.pub plain root@127.0.0.1:

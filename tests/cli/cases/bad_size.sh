#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
mkdir source
"$MOVER" keygen key >/dev/null
"$MOVER" keygen host >/dev/null
"$MOVER" push --identity key --known-host-key host.pub --bwlimit 12parsecs source root@127.0.0.1:

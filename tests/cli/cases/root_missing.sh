#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
mkdir source
"$MOVER" keygen key >/dev/null
"$MOVER" keygen host >/dev/null
"$MOVER" serve --root nowhere --host-key host --authorized-keys key.pub --listen 127.0.0.1 --port 0

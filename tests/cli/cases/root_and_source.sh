#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
mkdir source
"$MOVER" keygen key >/dev/null
"$MOVER" keygen host >/dev/null
"$MOVER" serve --root source --source source --host-key host --authorized-keys key.pub --port 0

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
echo precious >key
"$MOVER" keygen key || { code=$?; cat key; exit $code; }

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
"$MOVER" --help | grep -c -E "^ *(push|pull|serve|receive|send|recover|keygen|diff|bench)( |$)"

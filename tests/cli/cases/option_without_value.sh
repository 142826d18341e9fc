#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
"$MOVER" push a root@127.0.0.1: --port

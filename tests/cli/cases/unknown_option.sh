#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
"$MOVER" push --frobnicate a root@127.0.0.1:

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
"$MOVER" shove a b

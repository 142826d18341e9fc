#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
mkdir a b
echo same >a/file
cp -p a/file b/file
chmod 600 b/file
touch -d 2020-01-01 a b
"$MOVER" diff a b

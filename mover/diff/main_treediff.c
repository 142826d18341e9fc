/* SPDX-License-Identifier: Apache-2.0 */
#include "diff_command.h"

int main(int argc, char **argv)
{
	return diff_command(argc, argv, stdout, stderr);
}

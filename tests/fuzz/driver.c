/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a libFuzzer target without libFuzzer: every file named on the command line, then a fixed
 * number of seeded mutations of them (or of nothing), so that targets run as plain tests under gcc.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 16, ROUNDS = 20000 };

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int main(int argc, char **argv)
{
	static uint8_t base[INPUT_MAX];
	static uint8_t data[INPUT_MAX];
	uint64_t seed = getenv("SCRIBE_SEED") ? strtoull(getenv("SCRIBE_SEED"), NULL, 10) : 1;
	printf("seed %llu\n", (unsigned long long)seed);
	for (int i = 1; i < argc || i == 1; i++) {
		size_t n = 0;
		FILE *f = i < argc ? fopen(argv[i], "rb") : NULL;
		if (i < argc && !f) {
			perror(argv[i]);
			return 1;
		}
		if (f) {
			n = fread(base, 1, sizeof base, f);
			fclose(f);
		}
		LLVMFuzzerTestOneInput(base, n);
		for (int r = 0; r < ROUNDS; r++) {
			size_t len = n ? n : 1 + next(&seed) % 512;
			for (size_t k = 0; k < len && !n; k++)
				base[k] = (uint8_t)next(&seed);
			memcpy(data, base, len);
			for (uint64_t m = next(&seed) % 8; m; m--)
				data[next(&seed) % len] = (uint8_t)next(&seed);
			if (next(&seed) % 4 == 0)
				len = next(&seed) % (len + 1);
			LLVMFuzzerTestOneInput(data, len);
		}
	}
	return 0;
}

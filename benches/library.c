/* DIR FILE ROUNDS: in each round a new context looks every line of FILE up and goes away again. Prints the nanoseconds of
 * each round and, last, how many modules were found. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libkmod.h>

enum { MOST = 2000 };

static unsigned look_all_up(const char *dir, char **lines, unsigned count)
{
	struct kmod_ctx *ctx = kmod_new(dir, (const char *const[]){ NULL });
	unsigned found = 0;

	if (ctx == NULL || kmod_load_resources(ctx) != 0)
		exit(1);
	for (unsigned i = 0; i < count; i++) {
		struct kmod_list *list = NULL, *entry;

		if (kmod_module_new_from_lookup(ctx, lines[i], &list) < 0)
			exit(1);
		kmod_list_foreach(entry, list)
			found++;
		kmod_module_unref_list(list);
	}
	kmod_unref(ctx);
	return found;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(int argc, char **argv)
{
	static char *lines[MOST], line[4096];
	unsigned count = 0, found = 0;
	FILE *file = argc == 4 ? fopen(argv[2], "r") : NULL;

	while (file != NULL && count < MOST && fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		lines[count++] = strdup(line);
	}
	if (count == 0)
		return 1;
	/* The first is not told: it reads what the others find in memory. */
	for (int round = -1; round < atoi(argv[3]); round++) {
		int64_t begin = now();

		found = look_all_up(argv[1], lines, count);
		if (round >= 0)
			printf("%lld\n", (long long)(now() - begin));
	}
	printf("%u of %u\n", found, count);
	return 0;
}

/* Asks libkmod to load modules, the way udevd and systemd-modules-load do. Its first argument says how, the others what:
 *
 *   probe NAME [OPTIONS]     whatever a name or an alias leads to
 *   path FILE [OPTIONS]      one module file
 *   list NAME...             one after the other, as an old systemd-modules-load does
 *   times COUNT NAME         the same request again and again, with a context for each
 *   threads COUNT NAME...    each thread has a context and asks for all of the names, each from another one on
 *
 * Prints one line for each request, "NAME: RESULT", and ends with 0 only if all of them are 0 or positive. `times` and
 * `threads` print a line for each kind of result, with its number.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libkmod.h>

#define FLAGS KMOD_PROBE_APPLY_BLACKLIST

static struct kmod_ctx *context(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);

	if (ctx == NULL) {
		puts("no context");
		exit(2);
	}
	kmod_load_resources(ctx);
	return ctx;
}

/* The first failure among the modules that the name leads to, else 0 or what is positive. */
static int probe(struct kmod_ctx *ctx, const char *name, const char *options)
{
	struct kmod_list *list = NULL, *entry;
	int result = kmod_module_new_from_lookup(ctx, name, &list);

	if (result < 0)
		return result;
	if (list == NULL)
		return -ENOENT;
	kmod_list_foreach(entry, list) {
		struct kmod_module *mod = kmod_module_get_module(entry);
		int answer = kmod_module_probe_insert_module(mod, FLAGS, options, NULL, NULL, NULL);

		if (result >= 0)
			result = answer;
		kmod_module_unref(mod);
	}
	kmod_module_unref_list(list);
	return result;
}

static int path(const char *file, const char *options)
{
	struct kmod_ctx *ctx = context();
	struct kmod_module *mod = NULL;
	int result = kmod_module_new_from_path(ctx, file, &mod);

	if (result >= 0) {
		result = kmod_module_probe_insert_module(mod, FLAGS, options, NULL, NULL, NULL);
		kmod_module_unref(mod);
	}
	kmod_unref(ctx);
	return result;
}

static int say(const char *name, int result)
{
	printf("%s: %d\n", name, result);
	return result < 0;
}

static int kinds(const int *results, int count)
{
	int failed = 0;

	for (int i = 0; i < count; i++) {
		int same = 0, seen = 0;

		for (int j = 0; j < count; j++) {
			same += results[j] == results[i];
			seen |= j < i && results[j] == results[i];
		}
		if (!seen)
			printf("%d x %d\n", same, results[i]);
		failed |= results[i] < 0;
	}
	return failed;
}

static int times(int count, const char *name)
{
	int *results = calloc((size_t)count, sizeof(*results));

	for (int i = 0; i < count; i++) {
		struct kmod_ctx *ctx = context();

		results[i] = probe(ctx, name, NULL);
		kmod_unref(ctx);
	}
	return kinds(results, count);
}

struct work {
	pthread_t thread;
	pthread_barrier_t *start;
	char **names;
	int count, first;
	int *results;
};

static void *work(void *argument)
{
	struct work *work = argument;
	struct kmod_ctx *ctx = context();

	pthread_barrier_wait(work->start);
	for (int i = 0; i < work->count; i++)
		work->results[i] = probe(ctx, work->names[(work->first + i) % work->count], NULL);
	kmod_unref(ctx);
	return NULL;
}

static int threads(int threads, int count, char **names)
{
	struct work *works = calloc((size_t)threads, sizeof(*works));
	int *results = calloc((size_t)threads * (size_t)count, sizeof(*results));
	pthread_barrier_t start;

	pthread_barrier_init(&start, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++) {
		works[i] = (struct work){ .start = &start, .names = names, .count = count, .first = i,
					  .results = results + i * count };
		if (pthread_create(&works[i].thread, NULL, work, &works[i]) != 0)
			exit(3);
	}
	for (int i = 0; i < threads; i++)
		pthread_join(works[i].thread, NULL);
	return kinds(results, threads * count);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "", *options = argc > 3 ? argv[3] : NULL;
	int failed = 0;

	if (strcmp(how, "probe") == 0 && argc > 2)
		return say(argv[2], probe(context(), argv[2], options));
	if (strcmp(how, "path") == 0 && argc > 2)
		return say(argv[2], path(argv[2], options));
	if (strcmp(how, "list") == 0) {
		struct kmod_ctx *ctx = context();

		for (int i = 2; i < argc; i++)
			failed |= say(argv[i], probe(ctx, argv[i], NULL));
		return failed;
	}
	if (strcmp(how, "times") == 0 && argc > 3)
		return times(atoi(argv[2]), argv[3]);
	if (strcmp(how, "threads") == 0 && argc > 3)
		return threads(atoi(argv[2]), argc - 3, argv + 3);
	fprintf(stderr, "usage: library probe|path|list|times|threads ...\n");
	return 2;
}

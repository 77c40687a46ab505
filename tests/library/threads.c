/* Contexts are independent: each thread has its own, and they work at the same time. */
#include <pthread.h>

#include "ask.h"

struct work {
	int argc;
	char **argv;
	unsigned long found;
};

static void *work(void *argument)
{
	struct work *work = argument;

	for (int round = 0; round < 20; round++) {
		struct kmod_ctx *ctx = round % 2 == 0 ? context() : kmod_new(getenv("ASK_DIR"), NULL);

		for (int i = 0; i < work->argc; i++) {
			struct kmod_list *list = NULL, *entry;

			kmod_module_new_from_lookup(ctx, work->argv[i], &list);
			kmod_list_foreach(entry, list) {
				struct kmod_module *mod = kmod_module_get_module(entry);
				struct kmod_list *needed = kmod_module_get_dependencies(mod), *info = NULL;

				work->found += 1 + (unsigned long)kmod_module_get_info(mod, &info);
				kmod_module_info_free_list(info);
				kmod_module_unref_list(needed);
				kmod_module_unref(mod);
			}
			kmod_module_unref_list(list);
		}
		kmod_unref(ctx);
	}
	return NULL;
}

void ask_threads(int argc, char **argv)
{
	enum { THREADS = 8 };
	pthread_t threads[THREADS];
	struct work works[THREADS];

	for (int i = 0; i < THREADS; i++) {
		works[i] = (struct work){ .argc = argc, .argv = argv };
		if (pthread_create(&threads[i], NULL, work, &works[i]) != 0)
			exit(3);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		printf("%lu\n", works[i].found);
	}
}

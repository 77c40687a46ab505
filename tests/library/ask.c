#include "ask.h"

const char *number(long value)
{
	static char buffers[8][48];
	static unsigned at;
	char *buffer = buffers[at++ % 8];
	const char *name = value < 0 && value > -4096 ? strerrorname_np((int)-value) : NULL;

	if (name != NULL)
		snprintf(buffer, sizeof(buffers[0]), "-%s", name);
	else
		snprintf(buffer, sizeof(buffers[0]), "%ld", value);
	return buffer;
}

const char *text(const char *value)
{
	return value != NULL ? value : "(null)";
}

struct kmod_ctx *context(void)
{
	struct kmod_ctx *ctx = kmod_new(getenv("ASK_DIR"), NULL);

	if (ctx == NULL) {
		puts("no context");
		exit(2);
	}
	kmod_load_resources(ctx);
	return ctx;
}

struct kmod_module *module(struct kmod_ctx *ctx, const char *what)
{
	struct kmod_module *mod = NULL;
	struct kmod_list *list = NULL;
	int result;

	if (strchr(what, '/') != NULL) {
		result = kmod_module_new_from_path(ctx, what, &mod);
	} else {
		result = kmod_module_new_from_lookup(ctx, what, &list);
		if (list != NULL)
			mod = kmod_module_get_module(list);
		kmod_module_unref_list(list);
	}
	if (mod == NULL)
		printf("%s: %s, no module\n", what, number(result));
	return mod;
}

void names(const char *label, const struct kmod_list *list)
{
	const struct kmod_list *entry;
	unsigned there = 0, back = 0;

	printf("%s:", label);
	kmod_list_foreach(entry, list) {
		struct kmod_module *mod = kmod_module_get_module(entry);

		printf(" %s", text(kmod_module_get_name(mod)));
		kmod_module_unref(mod);
		there++;
	}
	kmod_list_foreach_reverse(entry, list)
		back++;
	if (there != back)
		printf(" (%u forwards, %u back)", there, back);
	putchar('\n');
}

int main(int argc, char **argv)
{
	static const struct {
		const char *question;
		void (*ask)(int argc, char **argv);
	} table[] = {
		{ "nulls", ask_nulls },
		{ "lists", ask_lists },
		{ "references", ask_references },
		{ "identity", ask_identity },
		{ "new", ask_new },
		{ "resources", ask_resources },
		{ "lookup", ask_lookup },
		{ "streamed", ask_streamed },
		{ "name", ask_name },
		{ "path", ask_path },
		{ "name-lookup", ask_name_lookup },
		{ "loaded", ask_loaded },
		{ "module", ask_module },
		{ "config", ask_config },
		{ "filter", ask_filter },
		{ "dump", ask_dump },
		{ "log", ask_log },
		{ "probe", ask_probe },
		{ "insert", ask_insert },
		{ "remove", ask_remove },
		{ "state", ask_state },
		{ "contents", ask_contents },
		{ "dracut", ask_dracut },
		{ "modaliases", ask_modaliases },
		{ "threads", ask_threads },
	};

	/* What it prints and what the library prints keep their order. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; argc > 1 && i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(argv[1], table[i].question) == 0) {
			table[i].ask(argc - 2, argv + 2);
			return 0;
		}
	fprintf(stderr, "usage: ask QUESTION [ABOUT...]\n");
	return 2;
}

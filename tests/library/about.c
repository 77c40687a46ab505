/* What is known of modules: lookups, attributes, configuration, state, contents. */
#include "ask.h"

static void attributes(struct kmod_module *mod)
{
	struct kmod_list *list, *pre = NULL, *post = NULL;

	printf("%s: path %s, options %s\n", text(kmod_module_get_name(mod)), text(kmod_module_get_path(mod)),
	       text(kmod_module_get_options(mod)));
	printf("  install %s, remove %s\n", text(kmod_module_get_install_commands(mod)),
	       text(kmod_module_get_remove_commands(mod)));
	list = kmod_module_get_dependencies(mod);
	names("  needs", list);
	kmod_module_unref_list(list);
	printf("  softdeps %s\n", number(kmod_module_get_softdeps(mod, &pre, &post)));
	names("  pre", pre);
	names("  post", post);
	kmod_module_unref_list(pre);
	kmod_module_unref_list(post);
#ifndef KMOD_30
	struct kmod_list *weak = NULL;

	printf("  weakdeps %s\n", number(kmod_module_get_weakdeps(mod, &weak)));
	names("  weak", weak);
	kmod_module_unref_list(weak);
#endif
}

static void lookup(struct kmod_ctx *ctx, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		struct kmod_list *list = NULL, *entry;

		printf("%s: %s\n", argv[i], number(kmod_module_new_from_lookup(ctx, argv[i], &list)));
		kmod_list_foreach(entry, list) {
			struct kmod_module *mod = kmod_module_get_module(entry);

			attributes(mod);
			kmod_module_unref(mod);
		}
		kmod_module_unref_list(list);
	}
}

void ask_lookup(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();

	lookup(ctx, argc, argv);
	kmod_unref(ctx);
}

void ask_streamed(int argc, char **argv)
{
	struct kmod_ctx *ctx = kmod_new(getenv("ASK_DIR"), NULL);

	lookup(ctx, argc, argv);
	kmod_unref(ctx);
}

void ask_module(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();

	for (int i = 0; i < argc; i++) {
		struct kmod_module *mod = module(ctx, argv[i]);

		if (mod != NULL)
			attributes(mod);
		kmod_module_unref(mod);
	}
	kmod_unref(ctx);
}

void ask_name(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();

	for (int i = 0; i < argc; i++) {
		struct kmod_module *mod = NULL;

		printf("%s: %s\n", argv[i], number(kmod_module_new_from_name(ctx, argv[i], &mod)));
		if (mod != NULL)
			attributes(mod);
		kmod_module_unref(mod);
	}
	kmod_unref(ctx);
}

/* Objects are held to the end, so that later paths meet earlier ones. A word without a slash is looked up. */
void ask_path(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	struct kmod_module *held[64] = { NULL };

	for (int i = 0; i < argc && i < 64; i++) {
		if (strchr(argv[i], '/') != NULL) {
			printf("%s: %s\n", argv[i], number(kmod_module_new_from_path(ctx, argv[i], &held[i])));
		} else {
			struct kmod_list *list = NULL;

			printf("%s: %s\n", argv[i], number(kmod_module_new_from_lookup(ctx, argv[i], &list)));
			held[i] = kmod_module_get_module(list);
			kmod_module_unref_list(list);
		}
		if (held[i] != NULL)
			attributes(held[i]);
		for (int j = 0; j < i; j++)
			if (held[i] != NULL && held[j] == held[i])
				printf("  the same as %s\n", argv[j]);
	}
	for (int i = 0; i < 64; i++)
		kmod_module_unref(held[i]);
	kmod_unref(ctx);
}

void ask_name_lookup(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();

	for (int i = 0; i < argc; i++) {
		struct kmod_module *mod = NULL;

		printf("%s: %s", argv[i], number(kmod_module_new_from_name_lookup(ctx, argv[i], &mod)));
		printf(" %s\n", text(kmod_module_get_name(mod)));
		kmod_module_unref(mod);
	}
	kmod_unref(ctx);
}

void ask_loaded(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	struct kmod_list *list = NULL;

	(void)argc, (void)argv;
	printf("%s\n", number(kmod_module_new_from_loaded(ctx, &list)));
	names("loaded", list);
	kmod_module_unref_list(list);
	kmod_unref(ctx);
}

void ask_config(int argc, char **argv)
{
	static const struct {
		const char *label;
		struct kmod_config_iter *(*get)(const struct kmod_ctx *ctx);
	} kinds[] = {
		{ "blacklist", kmod_config_get_blacklists },
		{ "install", kmod_config_get_install_commands },
		{ "remove", kmod_config_get_remove_commands },
		{ "alias", kmod_config_get_aliases },
		{ "options", kmod_config_get_options },
		{ "softdep", kmod_config_get_softdeps },
#ifndef KMOD_30
		{ "weakdep", kmod_config_get_weakdeps },
#endif
	};
	/* Without arguments the usual directories; "none" is the empty array. */
	const char *paths[65] = { NULL };
	struct kmod_ctx *ctx;

	for (int i = 0; i < argc && i < 64 && strcmp(argv[0], "none") != 0; i++)
		paths[i] = argv[i];
	ctx = kmod_new(NULL, argc > 0 ? paths : NULL);
	for (unsigned kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		struct kmod_config_iter *iter = kinds[kind].get(ctx);

		printf("%s: %s, before the first: %s %s\n", kinds[kind].label, iter != NULL ? "there" : "NULL",
		       text(kmod_config_iter_get_key(iter)), text(kmod_config_iter_get_value(iter)));
		/* Twice: it starts over. */
		for (int round = 0; round < 2; round++)
			while (kmod_config_iter_next(iter))
				printf("  %d [%s] [%s]\n", round, text(kmod_config_iter_get_key(iter)),
				       text(kmod_config_iter_get_value(iter)));
		printf("behind the last: %s\n", text(kmod_config_iter_get_key(iter)));
		kmod_config_iter_free_iter(iter);
	}
	kmod_unref(ctx);
}

void ask_filter(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();

	for (int i = 0; i < argc; i++) {
		struct kmod_list *input = NULL;

		kmod_module_new_from_lookup(ctx, argv[i], &input);
		names(argv[i], input);
		for (unsigned mask = 0; mask < 8; mask++) {
			struct kmod_list *output = NULL;
			int result = kmod_module_apply_filter(ctx, mask, input, &output);

			printf("%u %s", mask, number(result));
			names("", output);
			kmod_module_unref_list(output);
		}
		struct kmod_list *output = NULL;
		int result = kmod_module_get_filtered_blacklist(ctx, input, &output);

		printf("blacklist %s", number(result));
		names("", output);
		kmod_module_unref_list(output);
		kmod_module_unref_list(input);
	}
	kmod_unref(ctx);
}

void ask_dump(int argc, char **argv)
{
	struct kmod_ctx *ctx = kmod_new(getenv("ASK_DIR"), NULL);

	for (int i = 0; i < argc; i++) {
		int type = atoi(argv[i]);

		printf("%d:\n", type);
		fflush(stdout);
		printf("%s\n", number(kmod_dump_index(ctx, type, 1)));
		kmod_load_resources(ctx);
	}
	kmod_unref(ctx);
}

void ask_state(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();

	for (int i = 0; i < argc; i++) {
		struct kmod_module *mod = NULL;
		struct kmod_list *list, *entry;

		if (strchr(argv[i], '/') != NULL)
			kmod_module_new_from_path(ctx, argv[i], &mod);
		else
			kmod_module_new_from_name(ctx, argv[i], &mod);
		int state = kmod_module_get_initstate(mod);

		printf("%s: %s", argv[i], number(state));
		printf(" %s", text(kmod_module_initstate_str(state)));
		printf(", refcnt %s", number(kmod_module_get_refcnt(mod)));
		printf(", size %s\n", number(kmod_module_get_size(mod)));
		list = kmod_module_get_holders(mod);
		names("  holders", list);
		kmod_module_unref_list(list);
		list = kmod_module_get_sections(mod);
		kmod_list_foreach(entry, list)
			printf("  section %s at %lx\n", text(kmod_module_section_get_name(entry)),
			       kmod_module_section_get_address(entry));
		kmod_module_section_free_list(list);
		kmod_module_unref(mod);
	}
	kmod_unref(ctx);
}

static void contents(struct kmod_module *mod)
{
	struct kmod_list *list = NULL, *entry;

	printf("info %s\n", number(kmod_module_get_info(mod, &list)));
	kmod_list_foreach(entry, list)
		printf("  [%s] [%s]\n", text(kmod_module_info_get_key(entry)),
		       text(kmod_module_info_get_value(entry)));
	kmod_module_info_free_list(list);
	list = NULL;
	printf("versions %s\n", number(kmod_module_get_versions(mod, &list)));
	kmod_list_foreach(entry, list)
		printf("  %" PRIx64 " %s\n", kmod_module_version_get_crc(entry),
		       text(kmod_module_version_get_symbol(entry)));
	kmod_module_versions_free_list(list);
	list = NULL;
	printf("symbols %s\n", number(kmod_module_get_symbols(mod, &list)));
	kmod_list_foreach(entry, list)
		printf("  %" PRIx64 " %s\n", kmod_module_symbol_get_crc(entry),
		       text(kmod_module_symbol_get_symbol(entry)));
	kmod_module_symbols_free_list(list);
	list = NULL;
	printf("needs %s\n", number(kmod_module_get_dependency_symbols(mod, &list)));
	kmod_list_foreach(entry, list)
		printf("  %" PRIx64 " %c %s\n", kmod_module_dependency_symbol_get_crc(entry),
		       kmod_module_dependency_symbol_get_bind(entry),
		       text(kmod_module_dependency_symbol_get_symbol(entry)));
	kmod_module_dependency_symbols_free_list(list);
}

void ask_contents(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();

	for (int i = 0; i < argc; i++) {
		struct kmod_module *mod = module(ctx, argv[i]);

		printf("%s\n", argv[i]);
		if (mod != NULL)
			contents(mod);
		kmod_module_unref(mod);
	}
	kmod_unref(ctx);
}

/* What dracut-install does: a module from its file, the same by name while the first is held; entries of the list of needed
 * symbols given to the function for exported ones; attributes of built-in modules. */
void ask_dracut(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();

	for (int i = 0; i < argc; i++) {
		struct kmod_module *mod = NULL, *same = NULL;
		struct kmod_list *list = NULL, *found = NULL, *entry;

		printf("%s: %s\n", argv[i], number(kmod_module_new_from_path(ctx, argv[i], &mod)));
		if (mod == NULL)
			continue;
		kmod_module_new_from_lookup(ctx, kmod_module_get_name(mod), &found);
		same = kmod_module_get_module(found);
		printf("the same: %d, its path %s\n", mod == same, text(kmod_module_get_path(same)));
		printf("%d\n", strstr(text(kmod_get_dirname(ctx)), "/lib/modules/") != NULL);
		kmod_module_get_dependency_symbols(mod, &list);
		kmod_list_foreach(entry, list)
			printf("  %s %s %" PRIx64 "\n", text(kmod_module_symbol_get_symbol(entry)),
			       text(kmod_module_version_get_symbol(entry)), kmod_module_symbol_get_crc(entry));
		kmod_module_dependency_symbols_free_list(list);
		kmod_module_unref(same);
		kmod_module_unref_list(found);
		kmod_module_unref(mod);
	}
	kmod_unref(ctx);
}

/* modaliases DIR FILE: looks up every line of FILE, and prints what a machine of that many devices would pay for. */
void ask_modaliases(int argc, char **argv)
{
	struct kmod_ctx *ctx = kmod_new(argc > 0 ? argv[0] : NULL, (const char *const[]){ NULL });
	FILE *file = fopen(argv[1], "r");
	char line[4096];
	unsigned lines = 0, found = 0;
	int loaded = kmod_load_resources(ctx);

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		struct kmod_list *list = NULL, *entry;

		line[strcspn(line, "\n")] = '\0';
		kmod_module_new_from_lookup(ctx, line, &list);
		kmod_list_foreach(entry, list)
			found++;
		kmod_module_unref_list(list);
		lines++;
	}
	if (file != NULL)
		fclose(file);
	kmod_unref(ctx);
	printf("resources %s, %u lookups, %u modules\n", number(loaded), lines, found);
}

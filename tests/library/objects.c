/* Contexts, lists, objects: who owns what, what NULL does. */
#include "ask.h"

#define SAY(call) printf(#call ": %s\n", number((long)(call)))
#define SAY_TEXT(call) printf(#call ": %s\n", text(call))
#define SAY_POINTER(call) printf(#call ": %s\n", (call) != NULL ? "something" : "NULL")

void ask_nulls(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	struct kmod_module *mod = NULL, *none = NULL;
	struct kmod_list *list = NULL, *other = NULL;

	(void)argc, (void)argv;
	SAY_POINTER(kmod_ref(NULL));
	SAY_POINTER(kmod_unref(NULL));
	SAY_TEXT(kmod_get_dirname(NULL));
	SAY_POINTER(kmod_get_userdata(NULL));
	kmod_set_userdata(NULL, &ctx);
	kmod_set_log_fn(NULL, NULL, NULL);
	SAY(kmod_get_log_priority(NULL));
	kmod_set_log_priority(NULL, 7);
	SAY(kmod_load_resources(NULL));
	kmod_unload_resources(NULL);
	SAY(kmod_validate_resources(NULL));
	SAY(kmod_dump_index(NULL, KMOD_INDEX_MODULES_DEP, 1));
	SAY(kmod_dump_index(ctx, 77, 1));
	SAY(kmod_dump_index(ctx, KMOD_INDEX_MODULES_DEP, -1));
	SAY_POINTER(kmod_list_next(NULL, NULL));
	SAY_POINTER(kmod_list_prev(NULL, NULL));
	SAY_POINTER(kmod_list_last(NULL));
	SAY_POINTER(kmod_config_get_blacklists(NULL));
	SAY_POINTER(kmod_config_get_install_commands(NULL));
	SAY_POINTER(kmod_config_get_remove_commands(NULL));
	SAY_POINTER(kmod_config_get_aliases(NULL));
	SAY_POINTER(kmod_config_get_options(NULL));
	SAY_POINTER(kmod_config_get_softdeps(NULL));
#ifndef KMOD_30
	SAY_POINTER(kmod_config_get_weakdeps(NULL));
#endif
	SAY_TEXT(kmod_config_iter_get_key(NULL));
	SAY_TEXT(kmod_config_iter_get_value(NULL));
	SAY(kmod_config_iter_next(NULL));
	kmod_config_iter_free_iter(NULL);
	SAY(kmod_module_new_from_name(NULL, "loop", &mod));
	SAY(kmod_module_new_from_name(ctx, NULL, &mod));
	SAY(kmod_module_new_from_name(ctx, "loop", NULL));
	SAY(kmod_module_new_from_path(NULL, "/x", &mod));
	SAY(kmod_module_new_from_path(ctx, NULL, &mod));
	SAY(kmod_module_new_from_path(ctx, "/x", NULL));
	SAY(kmod_module_new_from_path(ctx, "/etc", NULL));
	SAY(kmod_module_new_from_lookup(NULL, "loop", &list));
	SAY(kmod_module_new_from_lookup(ctx, NULL, &list));
	SAY(kmod_module_new_from_lookup(ctx, "loop", NULL));
	SAY(kmod_module_new_from_name_lookup(NULL, "loop", &mod));
	SAY(kmod_module_new_from_name_lookup(ctx, NULL, &mod));
	SAY(kmod_module_new_from_name_lookup(ctx, "loop", NULL));
	SAY(kmod_module_new_from_loaded(NULL, &list));
	SAY(kmod_module_new_from_loaded(ctx, NULL));
	printf("untouched: %d %d\n", mod == NULL, list == NULL);
	SAY_POINTER(kmod_module_ref(NULL));
	SAY_POINTER(kmod_module_unref(NULL));
	SAY(kmod_module_unref_list(NULL));
	SAY_POINTER(kmod_module_get_module(NULL));
	SAY_TEXT(kmod_module_get_name(NULL));
	SAY_TEXT(kmod_module_get_path(NULL));
	SAY_TEXT(kmod_module_get_options(NULL));
	SAY_TEXT(kmod_module_get_install_commands(NULL));
	SAY_TEXT(kmod_module_get_remove_commands(NULL));
	SAY_POINTER(kmod_module_get_dependencies(NULL));
	SAY(kmod_module_get_softdeps(NULL, &list, &other));
#ifndef KMOD_30
	SAY(kmod_module_get_weakdeps(NULL, &list));
#endif
	SAY(kmod_module_apply_filter(NULL, 3, NULL, &list));
	SAY(kmod_module_apply_filter(ctx, 3, NULL, NULL));
	SAY(kmod_module_apply_filter(ctx, 3, NULL, &list));
	SAY(kmod_module_get_filtered_blacklist(NULL, NULL, &list));
	SAY(kmod_module_get_filtered_blacklist(ctx, NULL, NULL));
	SAY(kmod_module_get_filtered_blacklist(ctx, NULL, &list));
	SAY(kmod_module_insert_module(NULL, 0, NULL));
	SAY(kmod_module_probe_insert_module(NULL, 0, NULL, NULL, NULL, NULL));
	SAY(kmod_module_remove_module(NULL, 0));
	SAY(kmod_module_get_initstate(NULL));
	for (unsigned state = 0; state < 6; state++)
		printf("%u is %s\n", state, text(kmod_module_initstate_str(state)));
	SAY_TEXT(kmod_module_initstate_str((enum kmod_module_initstate)-1));
	SAY(kmod_module_get_refcnt(NULL));
	SAY(kmod_module_get_size(NULL));
	SAY_POINTER(kmod_module_get_holders(NULL));
	SAY_POINTER(kmod_module_get_sections(NULL));
	SAY_TEXT(kmod_module_section_get_name(NULL));
	printf("%d\n", kmod_module_section_get_address(NULL) == ULONG_MAX);
	kmod_module_section_free_list(NULL);
	SAY(kmod_module_get_info(NULL, &list));
	SAY_TEXT(kmod_module_info_get_key(NULL));
	SAY_TEXT(kmod_module_info_get_value(NULL));
	kmod_module_info_free_list(NULL);
	SAY(kmod_module_get_versions(NULL, &list));
	SAY_TEXT(kmod_module_version_get_symbol(NULL));
	SAY(kmod_module_version_get_crc(NULL));
	kmod_module_versions_free_list(NULL);
	SAY(kmod_module_get_symbols(NULL, &list));
	SAY_TEXT(kmod_module_symbol_get_symbol(NULL));
	SAY(kmod_module_symbol_get_crc(NULL));
	kmod_module_symbols_free_list(NULL);
	SAY(kmod_module_get_dependency_symbols(NULL, &list));
	SAY_TEXT(kmod_module_dependency_symbol_get_symbol(NULL));
	SAY(kmod_module_dependency_symbol_get_crc(NULL));
	SAY(kmod_module_dependency_symbol_get_bind(NULL));
	kmod_module_dependency_symbols_free_list(NULL);

	SAY(kmod_module_new_from_name(ctx, "tls", &mod));
	SAY(kmod_module_get_info(mod, NULL));
	SAY(kmod_module_get_versions(mod, NULL));
	SAY(kmod_module_get_symbols(mod, NULL));
	SAY(kmod_module_get_dependency_symbols(mod, NULL));
	SAY(kmod_module_get_softdeps(mod, NULL, &list));
	SAY(kmod_module_get_softdeps(mod, &list, NULL));
	SAY(kmod_module_get_softdeps(mod, NULL, NULL));
#ifndef KMOD_30
	SAY(kmod_module_get_weakdeps(mod, NULL));
#endif
	/* A list that is not empty is no place for a new one. */
	SAY(kmod_module_new_from_lookup(ctx, "loop", &list));
	other = list;
	SAY(kmod_module_new_from_lookup(ctx, "tls", &other));
	printf("unchanged: %d, none: %d\n", other == list, none == NULL);
	kmod_module_unref_list(list);
	kmod_module_unref(mod);
	SAY_POINTER(kmod_unref(ctx));
}

void ask_lists(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	struct kmod_list *list = NULL, *second = NULL, *one = NULL, *at;
	unsigned steps = 0;

	for (int i = 0; i < argc; i++) {
		struct kmod_list *found = NULL;

		printf("%s: %s\n", argv[i], number(kmod_module_new_from_lookup(ctx, argv[i], &found)));
		names(argv[i], found);
		printf("last is first: %d\n", kmod_list_last(found) == found);
		printf("before the first: %p, behind the last: %p\n", (void *)kmod_list_prev(found, found),
		       (void *)kmod_list_next(found, kmod_list_last(found)));
		if (list == NULL)
			list = found;
		else if (second == NULL)
			second = found;
		else
			kmod_module_unref_list(found);
	}
	/* By hand, keeping a node while its neighbours' lists come and go. */
	at = list;
	while (at != NULL) {
		kmod_module_new_from_lookup(ctx, argv[0], &one);
		kmod_module_unref_list(one);
		one = NULL;
		at = kmod_list_next(list, at);
		steps++;
	}
	printf("%u steps\n", steps);
	printf("NULL: %p %p\n", (void *)kmod_list_next(list, NULL), (void *)kmod_list_next(NULL, list));
	printf("NULL: %p %p\n", (void *)kmod_list_prev(list, NULL), (void *)kmod_list_prev(NULL, list));
	kmod_module_unref_list(list);
	names("the other list, its neighbour gone", second);
	kmod_module_unref_list(second);
	printf("context gone: %d\n", kmod_unref(ctx) == NULL);
}

void ask_references(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	struct kmod_module *mod = module(ctx, argc > 0 ? argv[0] : "loop");
	struct kmod_list *list = NULL;
	char mark;

	printf("userdata at first: %p\n", kmod_get_userdata(ctx));
	kmod_set_userdata(ctx, &mark);
	printf("stored: %d\n", kmod_get_userdata(ctx) == &mark);
	printf("ref is itself: %d %d\n", kmod_ref(ctx) == ctx, kmod_module_ref(mod) == mod);
	printf("unref of two: %d %d\n", kmod_unref(ctx) == ctx, kmod_module_unref(mod) == mod);
	printf("a module keeps its context: %d\n", kmod_unref(ctx) == ctx);
	printf("%s\n", text(kmod_module_get_name(mod)));
	printf("%s\n", text(kmod_get_dirname(ctx)));
	printf("last module: %d\n", kmod_module_unref(mod) == NULL);

	ctx = context();
	kmod_module_new_from_lookup(ctx, "loop", &list);
	mod = kmod_module_get_module(list);
	printf("list: %s\n", number(kmod_module_unref_list(list)));
	printf("its own reference: %s\n", text(kmod_module_get_name(mod)));
	printf("last: %d\n", kmod_module_unref(mod) == NULL);
	printf("context: %d\n", kmod_unref(ctx) == NULL);
}

void ask_identity(int argc, char **argv)
{
	struct kmod_ctx *ctx = context(), *other = context();
	struct kmod_module *first = NULL, *second = NULL, *foreign = NULL;
	struct kmod_list *by_alias = NULL, *by_other = NULL, *again = NULL, *by_name = NULL;

	(void)argc;
	kmod_module_new_from_name(ctx, argv[0], &first);
	kmod_module_new_from_name(ctx, argv[0], &second);
	kmod_module_new_from_name(other, argv[0], &foreign);
	printf("one by name: %d, contexts apart: %d\n", first == second, first != foreign);
	kmod_module_new_from_lookup(ctx, argv[0], &by_name);
	kmod_module_new_from_lookup(ctx, argv[1], &by_alias);
	kmod_module_new_from_lookup(ctx, argv[1], &again);
	kmod_module_new_from_lookup(ctx, argv[2], &by_other);
	struct kmod_module *n = kmod_module_get_module(by_name), *a = kmod_module_get_module(by_alias);
	struct kmod_module *b = kmod_module_get_module(again), *c = kmod_module_get_module(by_other);

	printf("looked up by name: %d\n", n == first);
	printf("by alias %s: another %d, again the same %d\n", kmod_module_get_name(a), a != first, a == b);
	printf("by another alias %s: another %d\n", text(kmod_module_get_name(c)), c != a);
	kmod_module_unref(n);
	kmod_module_unref(a);
	kmod_module_unref(b);
	kmod_module_unref(c);
	kmod_module_unref_list(by_name);
	kmod_module_unref_list(by_alias);
	kmod_module_unref_list(again);
	kmod_module_unref_list(by_other);
	printf("%d", kmod_module_unref(first) == second);
	printf(" %d", kmod_module_unref(second) == NULL);
	printf(" %d\n", kmod_module_unref(foreign) == NULL);
	printf("%d %d\n", kmod_unref(ctx) == NULL, kmod_unref(other) == NULL);
}

void ask_new(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		const char *dir = strcmp(argv[i], "NULL") == 0 ? NULL : argv[i];
		struct kmod_ctx *ctx = kmod_new(dir, NULL);

		printf("%s: %s\n", argv[i], text(kmod_get_dirname(ctx)));
		printf("priority %d, load %s\n", kmod_get_log_priority(ctx), number(kmod_load_resources(ctx)));
		printf("again %s\n", number(kmod_load_resources(ctx)));
		kmod_unload_resources(ctx);
		kmod_unload_resources(ctx);
		printf("unref: %p\n", (void *)kmod_unref(ctx));
	}
}

/* Each argument is a step: load, unload, validate, touch=PATH, write=PATH, rm=PATH, lookup=NAME. */
void ask_resources(int argc, char **argv)
{
	struct kmod_ctx *ctx = kmod_new(getenv("ASK_DIR"), NULL);

	for (int i = 0; i < argc; i++) {
		char *step = argv[i], *value = strchr(step, '=');

		if (value != NULL)
			*value++ = '\0';
		if (strcmp(step, "load") == 0) {
			printf("load: %s\n", number(kmod_load_resources(ctx)));
		} else if (strcmp(step, "unload") == 0) {
			kmod_unload_resources(ctx);
		} else if (strcmp(step, "validate") == 0) {
			printf("validate: %s\n", number(kmod_validate_resources(ctx)));
		} else if (strcmp(step, "touch") == 0) {
			const struct timespec times[2] = { { .tv_sec = 1000 + i }, { .tv_sec = 1000 + i } };

			printf("touch %s: %s\n", value, number(utimensat(AT_FDCWD, value, times, 0)));
		} else if (strcmp(step, "write") == 0) {
			FILE *file = fopen(value, "w");

			if (file != NULL)
				fclose(file);
			printf("write %s: %d\n", value, file != NULL);
		} else if (strcmp(step, "rm") == 0) {
			printf("rm %s: %s\n", value, number(remove(value)));
		} else if (strcmp(step, "move") == 0) {
			char *to = strchr(value, ',');

			*to++ = '\0';
			printf("move %s: %s\n", value, number(rename(value, to)));
		} else {
			struct kmod_list *list = NULL;

			printf("lookup %s: %s\n", value, number(kmod_module_new_from_lookup(ctx, value, &list)));
			names(value, list);
			kmod_module_unref_list(list);
		}
	}
	kmod_unref(ctx);
}

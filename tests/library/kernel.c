/* Inserting and removing, and what is logged. The test's kernel answers. */
#include "ask.h"

static void print_action(struct kmod_module *mod, bool install, const char *options)
{
	printf("  step %s: %s [%s]\n", text(kmod_module_get_name(mod)),
	       install ? text(kmod_module_get_install_commands(mod)) : text(kmod_module_get_path(mod)),
	       text(options));
}

static int answer_of_install;

static int run_install(struct kmod_module *mod, const char *command, void *data)
{
	const char *variable = getenv("MODPROBE_MODULE");

	printf("  run for %s: [%s], data %s, variable %s\n", text(kmod_module_get_name(mod)), text(command),
	       text(data), text(variable));
	return answer_of_install;
}

/* probe FLAGS NAME [OPTIONS [ANSWER]]: each module that NAME leads to. FLAGS in hex; ANSWER is what the host's own
 * run_install returns, without it the library runs commands. */
void ask_probe(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	struct kmod_list *list = NULL, *entry;
	unsigned flags = (unsigned)strtoul(argv[0], NULL, 16);
	const char *options = argc > 2 && argv[2][0] != '\0' ? argv[2] : NULL;
	static char data[] = "mine";

	answer_of_install = argc > 3 ? atoi(argv[3]) : 0;
	if (strchr(argv[1], '/') != NULL) {
		struct kmod_module *mod = module(ctx, argv[1]);
		int result = kmod_module_probe_insert_module(mod, flags, options, argc > 3 ? run_install : NULL, data,
							     print_action);

		printf("%s: %s\n", argv[1], number(result));
		kmod_module_unref(mod);
	} else {
		printf("lookup %s\n", number(kmod_module_new_from_lookup(ctx, argv[1], &list)));
	}
	kmod_list_foreach(entry, list) {
		struct kmod_module *mod = kmod_module_get_module(entry);
		int result = kmod_module_probe_insert_module(mod, flags, options, argc > 3 ? run_install : NULL, data,
							     print_action);

		printf("%s: %s\n", text(kmod_module_get_name(mod)), result > 0xffff ? "kept out" : number(result));
		if (result > 0xffff)
			printf("  %x\n", (unsigned)result);
		/* And with nobody listening. */
		printf("  again: %s\n",
		       number(kmod_module_probe_insert_module(mod, flags | KMOD_PROBE_DRY_RUN, NULL, NULL, NULL, NULL)));
		kmod_module_unref(mod);
	}
	kmod_module_unref_list(list);
	kmod_unref(ctx);
}

/* insert FLAGS NAME [OPTIONS] */
void ask_insert(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	struct kmod_module *mod = module(ctx, argv[1]);

	printf("%s: %s\n", argv[1],
	       number(kmod_module_insert_module(mod, (unsigned)strtoul(argv[0], NULL, 16), argc > 2 ? argv[2] : NULL)));
	kmod_module_unref(mod);
	kmod_unref(ctx);
}

/* remove FLAGS NAME...; FLAGS is a set of letters: f(orce), w (nowait), l (nolog). */
void ask_remove(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	unsigned flags = 0;

	for (const char *letter = argv[0]; *letter != '\0'; letter++)
		flags |= *letter == 'f' ? KMOD_REMOVE_FORCE : *letter == 'w' ? KMOD_REMOVE_NOWAIT :
			 *letter == 'l' ? KMOD_REMOVE_NOLOG : 0;
	for (int i = 1; i < argc; i++) {
		struct kmod_module *mod = NULL;

		kmod_module_new_from_name(ctx, argv[i], &mod);
		printf("%s: %s\n", argv[i], number(kmod_module_remove_module(mod, flags)));
		kmod_module_unref(mod);
	}
	kmod_unref(ctx);
}

static void log_fn(void *data, int priority, const char *file, int line, const char *fn, const char *format,
		   va_list args)
{
	char message[8192];

	vsnprintf(message, sizeof(message), format, args);
	/* The text of the first message holds an address. */
	if (strstr(message, "registered") != NULL)
		strcpy(message, "custom logging function registered\n");
	printf("  %s %d, names there %d %d, line %d: %s", (const char *)data, priority, file != NULL, fn != NULL,
	       line >= 0, message);
}

void ask_log(int argc, char **argv)
{
	struct kmod_ctx *ctx = context();
	static char data[] = "heard";

	(void)argc, (void)argv;
	printf("priority %d\n", kmod_get_log_priority(ctx));
	for (int priority = -1; priority <= 7; priority += 2) {
		struct kmod_module *mod = NULL;

		printf("at %d\n", priority);
		kmod_set_log_priority(ctx, priority);
		printf("priority %d\n", kmod_get_log_priority(ctx));
		kmod_set_log_fn(ctx, log_fn, data);
		kmod_module_new_from_name(ctx, "nosuch", &mod);
		printf("insert %s\n", number(kmod_module_insert_module(mod, 0, NULL)));
		printf("remove %s\n", number(kmod_module_remove_module(mod, 0)));
		printf("remove %s\n", number(kmod_module_remove_module(mod, KMOD_REMOVE_NOLOG)));
		kmod_module_unref(mod);
		mod = module(ctx, "loop");
		printf("insert %s\n", number(kmod_module_insert_module(mod, 0, NULL)));
		kmod_module_unref(mod);
	}
	kmod_set_log_fn(ctx, NULL, NULL);
	printf("with nobody to hear\n");
	struct kmod_module *mod = NULL;

	kmod_module_new_from_name(ctx, "nosuch", &mod);
	printf("insert %s\n", number(kmod_module_insert_module(mod, 0, NULL)));
	kmod_module_unref(mod);
	kmod_unref(ctx);
}

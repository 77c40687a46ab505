/* What a host could do wrong with the memory it is given, one thing for each argument: whoever watches must see it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libkmod.h>

static struct kmod_ctx *volatile context;

/* The only pointer to a context goes. */
static void __attribute__((noinline)) lost(void)
{
	context = kmod_new(getenv("ASK_DIR"), NULL);
	context = NULL;
}

/* A text is read after its module was given back, or behind its end. */
static void __attribute__((noinline)) read_text(int after)
{
	struct kmod_ctx *ctx = kmod_new(getenv("ASK_DIR"), NULL);
	struct kmod_module *mod = NULL;
	const char *volatile name;

	kmod_module_new_from_name(ctx, "some_name", &mod);
	name = kmod_module_get_name(mod);
	if (!after)
		printf("%d\n", name[strlen(name) + 1]);
	kmod_module_unref(mod);
	if (after)
		printf("%d\n", name[0]);
	kmod_unref(ctx);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "lost") == 0)
		lost();
	else if (strcmp(what, "after") == 0 || strcmp(what, "beyond") == 0)
		read_text(what[0] == 'a');
	else
		kmod_unref(kmod_new(getenv("ASK_DIR"), NULL));
	return 0;
}

/* What Rust cannot do yet: a va_list for the host's log function, and a second version of a symbol. */
#include <stdarg.h>
#include <stddef.h>

typedef void log_fn(void *data, int priority, const char *file, int line, const char *fn, const char *format,
		    va_list args);

__attribute__((visibility("hidden"), format(printf, 7, 8)))
void kmod_once_log(log_fn *function, void *data, int priority, const char *file, int line, const char *fn,
		   const char *format, ...)
{
	va_list args;

	va_start(args, format);
	function(data, priority, file, line, fn, format, args);
	va_end(args);
}

struct kmod_ctx;
struct kmod_module;

/* kmod 30 had it in its first set of symbols, later ones have it in LIBKMOD_30. */
#define NAME_LOOKUP(function, version) \
	__asm__(".symver " #function ", kmod_module_new_from_name_lookup" version); \
	int function(struct kmod_ctx *ctx, const char *name, struct kmod_module **mod); \
	int function(struct kmod_ctx *ctx, const char *name, struct kmod_module **mod) \
	{ \
		return kmod_once_name_lookup(ctx, name, mod); \
	}

int kmod_once_name_lookup(struct kmod_ctx *ctx, const char *name, struct kmod_module **mod);
NAME_LOOKUP(kmod_once_name_lookup_30, "@@LIBKMOD_30")
NAME_LOOKUP(kmod_once_name_lookup_5, "@LIBKMOD_5")

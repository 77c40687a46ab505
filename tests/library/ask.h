/* A program that asks libkmod and prints the answers, one line each. Its first argument is a question, the others are
 * what is asked about; main() has the table. Every answer is the same whatever the addresses are. */
#ifndef ASK_H
#define ASK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <libkmod.h>

/* "0", "3", "-ENOENT" */
const char *number(long value);
/* The text, or (null). */
const char *text(const char *value);
/* A context on the default directory, or on that of the variable ASK_DIR, with its indexes open. */
struct kmod_ctx *context(void);
/* A module by name, alias or (with a slash) path; NULL after saying why not. */
struct kmod_module *module(struct kmod_ctx *ctx, const char *what);
/* The names of a list of modules, in order, and backwards where that differs from what it should be. */
void names(const char *label, const struct kmod_list *list);

void ask_nulls(int argc, char **argv);
void ask_lists(int argc, char **argv);
void ask_references(int argc, char **argv);
void ask_identity(int argc, char **argv);
void ask_new(int argc, char **argv);
void ask_resources(int argc, char **argv);
void ask_lookup(int argc, char **argv);
void ask_streamed(int argc, char **argv);
void ask_name(int argc, char **argv);
void ask_path(int argc, char **argv);
void ask_name_lookup(int argc, char **argv);
void ask_loaded(int argc, char **argv);
void ask_module(int argc, char **argv);
void ask_config(int argc, char **argv);
void ask_filter(int argc, char **argv);
void ask_dump(int argc, char **argv);
void ask_log(int argc, char **argv);
void ask_probe(int argc, char **argv);
void ask_insert(int argc, char **argv);
void ask_remove(int argc, char **argv);
void ask_state(int argc, char **argv);
void ask_contents(int argc, char **argv);
void ask_dracut(int argc, char **argv);
void ask_modaliases(int argc, char **argv);
void ask_threads(int argc, char **argv);

#endif

// SPDX-License-Identifier: GPL-2.0
/* The module that lab_recurse asks for in its init, and that depends on it. */
#include <linux/init.h>
#include <linux/module.h>

int lab_recurse_answer(void);

static int __init lab_recurse_dep_init(void)
{
	return lab_recurse_answer() == 42 ? 0 : -EINVAL;
}

static void __exit lab_recurse_dep_exit(void)
{
}

module_init(lab_recurse_dep_init);
module_exit(lab_recurse_dep_exit);
MODULE_DESCRIPTION("A module that lab_recurse requests and that depends on it");
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

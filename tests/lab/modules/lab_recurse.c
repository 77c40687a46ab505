// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init asks user space for another module that depends on this
 * one. The modprobe that loads this module then sits in finit_module until the
 * second modprobe ends, while the second one finds this module "coming".
 */
#include <linux/init.h>
#include <linux/kmod.h>
#include <linux/module.h>

int lab_recurse_answer(void);
int lab_recurse_answer(void)
{
	return 42;
}
EXPORT_SYMBOL_GPL(lab_recurse_answer);

static int __init lab_recurse_init(void)
{
	int ret = request_module("lab_recurse_dep");

	pr_info("lab_recurse: request_module returned %d\n", ret);
	return 0;
}

static void __exit lab_recurse_exit(void)
{
}

module_init(lab_recurse_init);
module_exit(lab_recurse_exit);
MODULE_DESCRIPTION("A module whose init requests a module that depends on it");
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * Depends on lab_slow through a symbol: loading it means loading lab_slow
 * first, or waiting for it when it is on its way.
 */
#include <linux/init.h>
#include <linux/module.h>

int lab_slow_answer(void);

static int __init lab_needs_slow_init(void)
{
	return lab_slow_answer() == 42 ? 0 : -EINVAL;
}

static void __exit lab_needs_slow_exit(void)
{
}

module_init(lab_needs_slow_init);
module_exit(lab_needs_slow_exit);
MODULE_DESCRIPTION("A module that needs lab_slow");
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

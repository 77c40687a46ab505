// SPDX-License-Identifier: GPL-2.0
/*
 * One of a dozen modules that need nothing from each other and whose init
 * sleeps. Kbuild makes lab_nap_01 to lab_nap_12 of this file, with NAP being
 * the number; each exports a symbol for lab_needs_naps.
 *
 * ms=N    sleep N milliseconds in init, 500 unless said
 * err=N   then return -N instead of success
 */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/stringify.h>

#define NAME_(number) lab_nap_answer_##number
#define NAME(number) NAME_(number)

static unsigned int ms = 500;
module_param(ms, uint, 0444);
MODULE_PARM_DESC(ms, "milliseconds to sleep in init");

static unsigned int err;
module_param(err, uint, 0444);
MODULE_PARM_DESC(err, "error number that init returns, 0 for success");

int NAME(NAP)(void);
int NAME(NAP)(void)
{
	return 42;
}
EXPORT_SYMBOL_GPL(NAME(NAP));

static int __init lab_nap_init(void)
{
	msleep(ms);
	return -(int)err;
}

static void __exit lab_nap_exit(void)
{
}

module_init(lab_nap_init);
module_exit(lab_nap_exit);
MODULE_DESCRIPTION("A module that sleeps, number " __stringify(NAP));
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init can be slow, can fail and can wait to be told.
 *
 * ms=N    sleep N milliseconds in init, uninterruptibly
 * hold=1  then wait until somebody writes 1 to parameters/go (the parameters
 *         are in sysfs before init runs, so a waiting module can be told)
 * err=N   then return -N instead of success
 *
 * The lab uses it wherever a scenario needs an init that is still running, or
 * that fails at a known moment.
 */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/module.h>

static unsigned int ms;
module_param(ms, uint, 0444);
MODULE_PARM_DESC(ms, "milliseconds to sleep in init");

static unsigned int err;
module_param(err, uint, 0644);
MODULE_PARM_DESC(err, "error number that init returns, 0 for success");

static bool hold;
module_param(hold, bool, 0444);
MODULE_PARM_DESC(hold, "wait in init until go is set");

static bool go;
module_param(go, bool, 0644);
MODULE_PARM_DESC(go, "lets a held init continue");

int lab_slow_answer(void);
int lab_slow_answer(void)
{
	return 42;
}
EXPORT_SYMBOL_GPL(lab_slow_answer);

static int __init lab_slow_init(void)
{
	if (ms)
		msleep(ms);
	while (hold && !READ_ONCE(go))
		msleep(10);
	return -(int)err;
}

static void __exit lab_slow_exit(void)
{
}

module_init(lab_slow_init);
module_exit(lab_slow_exit);
MODULE_DESCRIPTION("A module with a slow, failing or waiting init");
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

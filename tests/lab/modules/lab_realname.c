// SPDX-License-Identifier: GPL-2.0
/*
 * Installed as lab-file-name.ko: a module whose file has another name than
 * itself, as Debian's nvidia-current.ko is the module nvidia. Init and exit can
 * be slow, so that others come in the meantime.
 *
 * ms=N        sleep N milliseconds in init
 * exit_ms=N   sleep N milliseconds in exit
 */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/module.h>

static unsigned int ms;
module_param(ms, uint, 0444);
MODULE_PARM_DESC(ms, "milliseconds to sleep in init");

static unsigned int exit_ms;
module_param(exit_ms, uint, 0644);
MODULE_PARM_DESC(exit_ms, "milliseconds to sleep in exit");

static int __init lab_realname_init(void)
{
	msleep(ms);
	return 0;
}

static void __exit lab_realname_exit(void)
{
	msleep(exit_ms);
}

module_init(lab_realname_init);
module_exit(lab_realname_exit);
MODULE_DESCRIPTION("A module whose file has another name");
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

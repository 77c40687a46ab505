// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that every CPU asks for and whose init refuses, as acpi_cpufreq and
 * pcc_cpufreq do where the firmware has nothing for them. No CPU has the
 * feature F00D, so nobody but a test asks for it.
 */
#include <linux/errno.h>
#include <linux/init.h>
#include <linux/module.h>

static int __init lab_cpu_init(void)
{
	return -ENODEV;
}

static void __exit lab_cpu_exit(void)
{
}

module_init(lab_cpu_init);
module_exit(lab_cpu_exit);
MODULE_ALIAS("cpu:type:x86,ven*fam*mod*:feature:*F00D*");
MODULE_DESCRIPTION("A driver that no CPU has a use for");
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

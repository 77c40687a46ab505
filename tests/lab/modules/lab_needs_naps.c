// SPDX-License-Identifier: GPL-2.0
/*
 * Needs a symbol of each of lab_nap_01 to lab_nap_12.
 */
#include <linux/init.h>
#include <linux/module.h>

#define NAPS(each)                                             \
	each(01) each(02) each(03) each(04) each(05) each(06)  \
	each(07) each(08) each(09) each(10) each(11) each(12)

#define DECLARE(number) int lab_nap_answer_##number(void);
NAPS(DECLARE)

#define CALL(number) +lab_nap_answer_##number()

static int __init lab_needs_naps_init(void)
{
	return (0 NAPS(CALL)) == 12 * 42 ? 0 : -EINVAL;
}

static void __exit lab_needs_naps_exit(void)
{
}

module_init(lab_needs_naps_init);
module_exit(lab_needs_naps_exit);
MODULE_DESCRIPTION("A module that needs twelve others");
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that look to udev like CPUs: each uevent carries the modalias of the
 * machine's own processor, so that udev asks for the same modules for each of
 * them as it does for each CPU. So a few processors make the requests of many.
 *
 * n=N     register N devices, /sys/devices/lab_cpus/lab_cpu0 and so on
 *
 * The modalias is put together as the kernel's arch/x86/kernel/cpu/match.c
 * shows it in /sys/devices/system/cpu/modalias.
 */
#include <linux/device.h>
#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>

static unsigned int n = 1;
module_param(n, uint, 0444);
MODULE_PARM_DESC(n, "how many devices to register");

static struct device *root;
static struct device *cpus;

static char modalias[UEVENT_BUFFER_SIZE];

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
static int cpu_uevent(const struct device *dev, struct kobj_uevent_env *env)
#else
static int cpu_uevent(struct device *dev, struct kobj_uevent_env *env)
#endif
{
	return add_uevent_var(env, "MODALIAS=%s", modalias);
}

static void describe(void)
{
	int used, i;

	used = scnprintf(modalias, sizeof(modalias),
			 "cpu:type:x86,ven%04Xfam%04Xmod%04X:feature:",
			 boot_cpu_data.x86_vendor, boot_cpu_data.x86,
			 boot_cpu_data.x86_model);
	for (i = 0; i < NCAPINTS * 32; i++)
		if (boot_cpu_has(i))
			used += scnprintf(modalias + used,
					  sizeof(modalias) - used, ",%04X", i);
	scnprintf(modalias + used, sizeof(modalias) - used, ",");
}

static struct bus_type lab_cpus_bus = { .name = "lab_cpus" };
static const struct device_type lab_cpus_type = { .uevent = cpu_uevent };

/* They lie in one array that outlives them. */
static void no_release(struct device *dev)
{
}

static void leave(unsigned int registered)
{
	while (registered--)
		device_unregister(&cpus[registered]);
	root_device_unregister(root);
	bus_unregister(&lab_cpus_bus);
	kvfree(cpus);
}

static int __init lab_cpus_init(void)
{
	unsigned int i;
	int err;

	describe();
	cpus = kvcalloc(n, sizeof(*cpus), GFP_KERNEL);
	if (!cpus)
		return -ENOMEM;
	err = bus_register(&lab_cpus_bus);
	if (err)
		goto free;
	root = root_device_register("lab_cpus");
	if (IS_ERR(root)) {
		err = PTR_ERR(root);
		goto bus;
	}
	for (i = 0; i < n; i++) {
		cpus[i].parent = root;
		cpus[i].bus = &lab_cpus_bus;
		cpus[i].type = &lab_cpus_type;
		cpus[i].release = no_release;
		err = dev_set_name(&cpus[i], "lab_cpu%u", i);
		if (!err)
			err = device_register(&cpus[i]);
		if (err) {
			put_device(&cpus[i]);
			leave(i);
			return err;
		}
	}
	return 0;
bus:
	bus_unregister(&lab_cpus_bus);
free:
	kvfree(cpus);
	return err;
}

static void __exit lab_cpus_exit(void)
{
	leave(n);
}

module_init(lab_cpus_init);
module_exit(lab_cpus_exit);
MODULE_DESCRIPTION("Devices that ask for what CPUs ask for");
MODULE_AUTHOR("The kmod-once authors");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * debug.c - what administrators can see: sysfs, debugfs, tracepoints
 *
 * /sys/class/misc/lshm/{abi,regions,handles,total_bytes} is for everybody,
 * /sys/kernel/debug/lshm/regions, a line for each region, for root. The latter
 * goes through the regions as LIST does, holding one at a time.
 */
#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "lshm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static ssize_t abi_show(
	struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", LSHM_IOC_ABI);
}
static DEVICE_ATTR_RO(abi);

static ssize_t regions_show(
	struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", lshm_region_count());
}
static DEVICE_ATTR_RO(regions);

static ssize_t handles_show(
	struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", lshm_handle_count());
}
static DEVICE_ATTR_RO(handles);

static ssize_t total_bytes_show(
	struct device *dev, struct device_attribute *attr, char *buf)
{
	struct lshm_ioc_info i;

	lshm_quota_info(&i);
	return sysfs_emit(buf, "%llu\n", i.total);
}
static DEVICE_ATTR_RO(total_bytes);

static struct attribute *attributes[] = {
	&dev_attr_abi.attr,
	&dev_attr_regions.attr,
	&dev_attr_handles.attr,
	&dev_attr_total_bytes.attr,
	NULL,
};

static const struct attribute_group group = { .attrs = attributes };
const struct attribute_group *lshm_attribute_groups[] = { &group, NULL };

static int list_show(struct seq_file *m, void *unused)
{
	struct lshm_ioc_stat *s = kmalloc(sizeof(*s), GFP_KERNEL);
	struct lshm_region *r;

	if (!s)
		return -ENOMEM;
	seq_puts(m,
		"id length runs huge handles maps claims waiters deaths faults waits wakes name\n");
	for (u64 id = 0; (r = lshm_region_next(&id)); id++) {
		memset(s, 0, sizeof(*s));
		lshm_region_stat(r, s);
		lshm_region_put(r);
		seq_printf(m,
			"%llu %llu %u %u %u %u %u %u %llu %llu %llu %llu ",
			s->id, s->length, s->runs, s->huge, s->handles, s->maps,
			s->claims, s->waiters, s->deaths, s->faults, s->waits,
			s->wakes);
		seq_escape(m, s->name, "\\\n\t ");
		seq_putc(m, '\n');
	}
	kfree(s);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(list);

static struct dentry *directory;

/* Works without debugfs, too. */
void lshm_debug_init(void)
{
	directory = debugfs_create_dir("lshm", NULL);
	debugfs_create_file("regions", 0400, directory, NULL, &list_fops);
}

void lshm_debug_exit(void)
{
	debugfs_remove_recursive(directory);
}

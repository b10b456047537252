// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Tells those who watch files of this guest (inotify, fanotify) what happened to them elsewhere: on the host, whose folders
 * are mounted here. File systems like virtiofs and sshfs have no such message of their own, and what can be done to a file
 * from here to make the kernel say something either changes it or says something else.
 *
 * /dev/colima-like-file-events, for root alone. One write(2) is one record, as in docs/protocols.md, "File events":
 *     kind (1 byte), flags (1 byte: 1 folder, 2 with content), path and former path (2 bytes of length, big endian, bytes)
 * Nothing is sent to the file system but lookups and requests for attributes, so that what a watcher sees when it looks is
 * what the host has. Names that cannot be reached are no error. EEXIST: what was removed seems to be there all the same; it may be
 * back, or the file system believes what it knew before, for a second or so. Nothing was told then.
 */
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/fsnotify_backend.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>

#define RECORD_LIMIT (2 * (PATH_MAX + 2) + 2)
#define IS_FOLDER 1
#define WITH_CONTENT 2

/* A name in a folder. */
struct place {
	struct path folder;
	struct qstr name;
	struct inode *before; /* what this kernel took the name for; may be NULL */
	struct inode *now;    /* and what it is; may be NULL */
};

static struct inode *inode_of(struct dentry *dentry)
{
	return d_is_positive(dentry) ? igrab(d_inode(dentry)) : NULL;
}

/*
 * Finds the folder, and what the name in it was and is. `path` is taken apart. A cached name whose meaning has changed is
 * dropped, or it would be believed for as long as the file system allows. Not so a folder: mounts may be on it or below it,
 * and it would lose them.
 */
static int find_place(struct place *place, char *path, bool renewed)
{
	char *slash = strrchr(path, '/');
	struct dentry *dentry;
	int err;

	if (!slash || !slash[1] || !strcmp(slash, "/.") || !strcmp(slash, "/.."))
		return -EINVAL;
	place->before = place->now = NULL;
	if (slash == path) {
		err = kern_path("/", LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &place->folder);
	} else {
		*slash = '\0';
		err = kern_path(path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &place->folder);
		*slash = '/';
	}
	if (err)
		return err;
	place->name = (struct qstr)QSTR_INIT(slash + 1, strlen(slash + 1));
	if (place->name.len > NAME_MAX) {
		path_put(&place->folder);
		return -ENAMETOOLONG;
	}
	place->name.hash = full_name_hash(place->folder.dentry, place->name.name, place->name.len);
	dentry = d_lookup(place->folder.dentry, &place->name);
	if (dentry) {
		place->before = inode_of(dentry);
		/* Not where names are nowhere but in this cache (tmpfs), nor where something is mounted on the file. */
		if (renewed && !d_is_dir(dentry) && !d_mountpoint(dentry) && (dentry->d_flags & DCACHE_OP_REVALIDATE))
			d_drop(dentry);
		dput(dentry);
	}
	dentry = lookup_one_positive_unlocked(mnt_idmap(place->folder.mnt), place->name.name, place->folder.dentry,
					      place->name.len);
	if (!IS_ERR(dentry)) {
		struct path child = { .mnt = place->folder.mnt, .dentry = dentry };
		struct kstat fresh;

		/* The cached attributes would be believed, too; and a cached folder may be one that was removed. */
		if (!vfs_getattr(&child, &fresh, STATX_BASIC_STATS, AT_STATX_FORCE_SYNC) && fresh.nlink)
			place->now = inode_of(dentry);
		dput(dentry);
	}
	return 0;
}

static void leave_place(struct place *place)
{
	iput(place->before);
	iput(place->now);
	path_put(&place->folder);
}

/* Of the folder: a name in it. */
static void tell_name(struct place *place, u32 mask, struct inode *what, u32 cookie)
{
	struct inode *folder = d_inode(place->folder.dentry);

	fsnotify(mask, what ?: folder, FSNOTIFY_EVENT_INODE, folder, &place->name, NULL, cookie);
}

/* Of what bears the name, and of the folder if that is watched for what happens in it. */
static void tell_child(struct place *place, u32 mask, struct inode *inode)
{
	if (inode)
		fsnotify(mask | FS_EVENT_ON_CHILD | (S_ISDIR(inode->i_mode) ? FS_ISDIR : 0), inode, FSNOTIFY_EVENT_INODE,
			 d_inode(place->folder.dentry), &place->name, inode, 0);
}

/* Of the inode alone. */
static void tell_self(struct inode *inode, u32 mask)
{
	fsnotify(mask | (S_ISDIR(inode->i_mode) ? FS_ISDIR : 0), inode, FSNOTIFY_EVENT_INODE, NULL, NULL, inode, 0);
}

/* Whoever watched what bore the name and is now gone, or has lost it to something else. */
static void tell_end(struct inode *inode)
{
	tell_self(inode, FS_ATTRIB);
	tell_self(inode, FS_DELETE_SELF);
}

static void tell_content(struct place *place)
{
	tell_child(place, FS_MODIFY, place->now);
	tell_child(place, FS_CLOSE_WRITE, place->now);
}

static int tell(char kind, u8 flags, char *path, char *from)
{
	static u32 moves = 0x636c0000;
	u32 folder = flags & IS_FOLDER ? FS_ISDIR : 0;
	bool renewed = kind == 'c' || kind == 'd' || kind == 'r';
	bool content = flags & WITH_CONTENT;
	struct place place, source;
	bool replaced, same;
	int err = 0;

	if (find_place(&place, path, renewed))
		return 0;
	replaced = place.before && place.before != place.now;
	/* For sshfs a path is always the same inode, also when the host has put another file there: then it has other content. */
	same = place.before && place.before == place.now;
	switch (kind) {
	case 'c':
		tell_name(&place, FS_CREATE | folder, place.now, 0);
		if (replaced)
			tell_end(place.before);
		if (content || (same && !folder))
			tell_content(&place);
		break;
	case 'm':
		tell_content(&place);
		break;
	case 'a':
		tell_child(&place, FS_ATTRIB, place.now);
		break;
	case 'd':
		if (same) {
			err = -EEXIST;
			break;
		}
		tell_name(&place, FS_DELETE | folder, place.before, 0);
		if (replaced)
			tell_end(place.before);
		break;
	case 'r':
		if (find_place(&source, from, true))
			break;
		moves++;
		tell_name(&source, FS_MOVED_FROM | folder, source.before ?: place.now, moves);
		tell_name(&place, FS_MOVED_TO | folder, place.now ?: source.before, moves);
		if (source.before)
			tell_self(source.before, FS_MOVE_SELF);
		if (replaced && place.before != source.before)
			tell_end(place.before);
		if (content || (same && !folder))
			tell_content(&place);
		leave_place(&source);
		break;
	case 'l':
		tell_child(&place, FS_ATTRIB, place.now);
		break;
	}
	leave_place(&place);
	return err;
}

static ssize_t write_record(struct file *file, const char __user *user, size_t size, loff_t *position)
{
	size_t length, former;
	char *record, *path, *from;
	ssize_t result = size;

	if (size < 6 || size > RECORD_LIMIT)
		return -EINVAL;
	/* One byte more: the former path is ended there, the path where the length of the former one was. */
	record = memdup_user_nul(user, size);
	if (IS_ERR(record))
		return PTR_ERR(record);
	length = get_unaligned_be16(record + 2);
	if (length > size - 6) {
		result = -EINVAL;
		goto out;
	}
	former = get_unaligned_be16(record + 4 + length);
	if (former != size - 6 - length) {
		result = -EINVAL;
		goto out;
	}
	path = record + 4;
	from = path + length + 2;
	path[length] = '\0';
	if (path[0] != '/' || (record[0] == 'r' && from[0] != '/'))
		result = -EINVAL;
	else
		result = tell(record[0], record[1], path, from) ?: result;
out:
	kfree(record);
	return result;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.write = write_record,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "colima-like-file-events",
	.fops = &operations,
	.mode = 0600,
};

module_misc_device(device);
MODULE_DESCRIPTION("Tells watchers of files what happened to them on the host");
MODULE_LICENSE("GPL");
